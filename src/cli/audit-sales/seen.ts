/** Remembers ids by 64 of their random bits: 16 bytes each on average, where a set of strings takes over a hundred. */
export function createSeen(): { add(uuid: string): boolean } {
  let table = new BigUint64Array(1_024);
  let count = 0;

  function insert(value: bigint): boolean {
    const mask = table.length - 1;
    for (let at = Number(value & 0xffff_ffffn) & mask; ; at = (at + 1) & mask) {
      if (table[at] === 0n) {
        table[at] = value;
        return true;
      }
      if (table[at] === value) return false;
    }
  }

  return {
    /** False when it was there. */
    add(uuid) {
      if ((count + 1) * 2 > table.length) {
        const former = table;
        table = new BigUint64Array(former.length * 2);
        for (const value of former) if (value !== 0n) insert(value);
      }
      // The end of an id is random in every version; 0 marks a free place.
      const value = BigInt(`0x${uuid.replaceAll('-', '').slice(-16)}`) || 1n;
      const isNew = insert(value);
      if (isNew) count += 1;
      return isNew;
    },
  };
}
