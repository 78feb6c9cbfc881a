/**
 * Base64 of texts that differ in one place, and there by as many characters: what stands around it is encoded
 * once. What differs must be ASCII.
 */
export function encodeAround(
  before: string,
  after: string,
  alphabet: 'base64' | 'base64url',
): (between: string) => string {
  let layout: Layout | undefined;
  return (between) => {
    if (layout?.chars !== between.length) layout = layOut({ before, after, chars: between.length }, alphabet);
    const { head, middle, at, tail } = layout;
    middle.write(between, at, between.length, 'latin1');
    return head + middle.toString(alphabet) + tail;
  };
}

/** Three bytes make four characters: `middle` begins and ends where they do, and is written anew each time. */
type Layout = { chars: number; head: string; middle: Buffer; at: number; tail: string };

function layOut(
  { before, after, chars }: { before: string; after: string; chars: number },
  alphabet: 'base64' | 'base64url',
): Layout {
  const bytes = Buffer.from(before + ' '.repeat(chars) + after, 'utf8');
  const at = Buffer.byteLength(before);
  const start = at - (at % 3);
  const end = Math.min(bytes.length, Math.ceil((at + chars) / 3) * 3);
  return {
    ...{ chars, head: bytes.toString(alphabet, 0, start), middle: Buffer.from(bytes.subarray(start, end)) },
    ...{ at: at - start, tail: bytes.toString(alphabet, end) },
  };
}
