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
  ...['::/127', '64:ff9b:1::/48', '100::/64', '2001::/23', '2001:db8::/32', '2002::/16', '3fff::/20'],
  ...['5f00::/16', 'fc00::/7', 'fe80::/10', 'fec0::/10', 'ff00::/8'],
  // Alibaba's metadata service, which is none of these.
  '100.100.100.200/32',
];

const notPublic = new BlockList();
for (const block of NOT_PUBLIC) {
  const [address = '', bits] = block.split('/');
  notPublic.addSubnet(address, Number(bits), address.includes(':') ? 'ipv6' : 'ipv4');
}

/** Whether an address is one of the open Internet: neither of this machine, nor of its network, nor of its cloud. */
export function isPublicAddress(address: string): boolean {
  const family = isIP(address);
  if (family === 0) return false;
  if (family === 4) return !notPublic.check(address, 'ipv4');
  const embedded = embeddedIpv4(address);
  return embedded === undefined ? !notPublic.check(address, 'ipv6') : isPublicAddress(embedded);
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
