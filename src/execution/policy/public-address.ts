import { BlockList, isIP } from 'node:net';

/**
 * Every special-purpose block of the IANA registries that is not globally reachable (RFC 6890 and its updates),
 * and the metadata services of clouds, which live in link-local blocks.
 */
const NOT_PUBLIC = [
  ...['0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12'],
  ...[
    '192.0.0.0/24',
    '192.0.2.0/24',
    '192.31.196.0/24',
    '192.52.193.0/24',
    '192.88.99.0/24',
    '192.168.0.0/16',
  ],
  ...['192.175.48.0/24', '198.18.0.0/15', '198.51.100.0/24', '203.0.113.0/24', '224.0.0.0/4', '240.0.0.0/4'],
  // Of IPv6 only 2000::/3 was ever given out as global (IANA, "IPv6 Address Space"), with exceptions of its own.
  ...['::/3', '4000::/2', '8000::/1', '2001::/23', '2001:db8::/32', '2002::/16', '3fff::/20'],
  // Alibaba's metadata service, which is none of these.
  '100.100.100.200/32',
];

/** One list for each family: a list takes an IPv4 address for the IPv6 one that it maps to. */
const notPublic = { ipv4: new BlockList(), ipv6: new BlockList() };
for (const block of NOT_PUBLIC) {
  const [address = '', bits] = block.split('/');
  const family = address.includes(':') ? 'ipv6' : 'ipv4';
  notPublic[family].addSubnet(address, Number(bits), family);
}

/** Whether an address is one of the open Internet: neither of this machine, nor of its network, nor of its cloud. */
export function isPublicAddress(address: string): boolean {
  const family = isIP(address);
  if (family === 0) return false;
  if (family === 4) return !notPublic.ipv4.check(address, 'ipv4');
  const embedded = embeddedIpv4(address);
  return embedded === undefined ? !notPublic.ipv6.check(address, 'ipv6') : isPublicAddress(embedded);
}

/** The IPv4 address that an IPv4-mapped (`::ffff:0:0/96`), -compatible or NAT64 (`64:ff9b::/96`) one stands for. */
function embeddedIpv4(address: string): string | undefined {
  // The URL parser spells every IPv6 address in its one short form.
  const host = new URL(`http://[${address.replace(/%.*$/, '')}]/`).hostname.slice(1, -1);
  const match = /^(?:::ffff:(?:0:)?|64:ff9b::|::)([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(host);
  if (!match) return undefined;
  const [high, low] = [Number.parseInt(match[1] ?? '', 16), Number.parseInt(match[2] ?? '', 16)];
  return [high >> 8, high & 255, low >> 8, low & 255].join('.');
}
