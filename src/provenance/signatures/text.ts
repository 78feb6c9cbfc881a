/** The bytes of canonical, padded base64; undefined for any other text. */
export function readBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64');
  return text !== '' && bytes.toString('base64') === text ? bytes : undefined;
}

/** What stands between the lines `-----BEGIN label-----` and `-----END label-----`, with nothing around them. */
export function readArmor(text: string, label: string): string | undefined {
  const lines = text.trim().split(/\r?\n/);
  const [first, ...rest] = lines;
  const last = rest.pop();
  if (first?.trimEnd() !== `-----BEGIN ${label}-----` || last !== `-----END ${label}-----`) return undefined;
  return rest.some((line) => line.startsWith('-----')) ? undefined : rest.join('\n');
}
