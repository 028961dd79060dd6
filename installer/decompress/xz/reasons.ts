/** Reason of a thread for a block that needs more memory than is allowed. */
export const tooLarge = 'it needs too much memory';
