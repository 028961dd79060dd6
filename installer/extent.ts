/**
 * A piece of a disk image in order of offset, as the decoders hand it on. A run of zeroes is handed on as its length, because most of a
 * disk image is zeroes and most disks can write those without being sent any.
 */
export type Extent =
  | {
      readonly kind: 'data';
      readonly bytes: Uint8Array;
      /** Gives the memory of `bytes` back to its producer; called exactly once, when the bytes are no longer needed. */
      release(): void;
    }
  | { readonly kind: 'zero'; readonly lengthBytes: number };
