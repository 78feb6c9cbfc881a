/**
 * How long after it arrived a rail's money may still be lost to a reorganisation. What it paid for becomes
 * withdrawable only then, also when a key's balance stood between: that may have been filled a second ago.
 */
export const FUNDS_FINAL_MS = 15 * 60 * 1000;

/** A card's money may be disputed: what it paid for is not withdrawn for two weeks (MONEY.md, rule 7). */
export const CARD_FINAL_MS = 14 * 24 * 60 * 60 * 1000;
