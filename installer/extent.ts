/**
 * A piece of a disk image, in order of offset, as a decoder produces it. A run of zeroes is passed
 * as its length: most of a disk image is zeroes, and most disks can zero a range without receiving
 * data.
 */
export type Extent =
  | {
      readonly kind: 'data';
      readonly bytes: Uint8Array;
      /** Returns the memory of `bytes` to its producer. Must be called exactly once. */
      release(): void;
    }
  | { readonly kind: 'zero'; readonly lengthBytes: number };
