/**
 * Whom an address stands for: an IPv4 address for itself, an IPv6 address for its /64, as that is the least that
 * one customer of a network gets, and holds more addresses than any limit could count.
 */
export function networkOf(address: string): string {
  if (address.indexOf(':') === -1) return address;
  const plain = /^::ffff:([0-9.]+)$/i.exec(address)?.[1];
  if (plain !== undefined) return plain;
  const [head = '', tail] = address.split('%', 1)[0]?.split('::') ?? [];
  const groups = head === '' ? [] : head.split(':');
  if (tail !== undefined) {
    const after = tail === '' ? [] : tail.split(':');
    // An IPv4 address in the last two groups counts for two.
    const width = after.length + (tail.includes('.') ? 1 : 0);
    while (groups.length + width < GROUPS) groups.push('0');
    groups.push(...after);
  }
  const network = groups.slice(0, NETWORK_GROUPS).map((group) => group.replace(/^0+(?=.)/, '').toLowerCase());
  return `${network.join(':')}::/64`;
}

const GROUPS = 8;
const NETWORK_GROUPS = 4;
