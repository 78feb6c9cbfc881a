import { isIP } from 'node:net';
import { domainToASCII } from 'node:url';

/** A host by its name, and a port of it. */
export type HostPort = { name: string; port: number };

const HTTPS_PORT = 443;
const PORT_MAX = 65_535;
const NAME_LENGTH_MAX = 253;
const LABEL = /^(?!-)[a-z0-9_-]{1,63}(?<!-)$/;
/** What URL parsers take for a part of an IPv4 address when it comes last (URL Standard, "ends in a number"). */
const NUMBER = /^(?:[0-9]+|0x[0-9a-f]*)$/;

/**
 * `name` or `name:port` in its one form: lower case, without a dot at its end, other scripts as Punycode; port 443
 * when it names none. Undefined for whatever is no name: wildcards, and IP addresses in every spelling.
 */
export function readHostPort(text: string): HostPort | undefined {
  const [, spelled = '', digits] = /^([^:\s/?#@\\%*]{1,1000})(?::([0-9]{1,5}))?$/.exec(text) ?? [];
  const port = digits === undefined ? HTTPS_PORT : Number(digits);
  if (port < 1 || port > PORT_MAX) return undefined;
  const name = domainToASCII(spelled).replace(/\.$/, '');
  const labels = name.split('.');
  const isName = name.length <= NAME_LENGTH_MAX && labels.every((label) => LABEL.test(label));
  if (!isName || NUMBER.test(labels.at(-1) ?? '') || isIP(name) !== 0) return undefined;
  return { name, port };
}

export function spellHostPort({ name, port }: HostPort): string {
  return `${name}:${port}`;
}
