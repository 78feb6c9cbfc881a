/**
 * How long after it arrived a rail's money may still be lost to a reorganisation. What it paid for becomes
 * withdrawable only then, also when a key's balance stood between: that may have been filled a second ago.
 */
export const FUNDS_FINAL_MS = 15 * 60 * 1000;
