const BLOCK_BYTES = 512;
const MODE_OFFSET = 100;
const SIZE = { start: 124, end: 135 } as const;
const CHECKSUM = { start: 148, end: 156 } as const;
const MODE = '0000555\0';

/**
 * The same ustar archive with mode 0555 in every header: a canonical archive knows no modes, and some packages
 * bring programs.
 */
export function makeExecutable(archive: Uint8Array): Buffer {
  const bytes = Buffer.from(archive);
  for (let offset = 0; offset + BLOCK_BYTES <= bytes.length && bytes[offset] !== 0; ) {
    const header = bytes.subarray(offset, offset + BLOCK_BYTES);
    const size = Number.parseInt(header.toString('latin1', SIZE.start, SIZE.end), 8);
    header.write(MODE, MODE_OFFSET, 'latin1');
    header.fill(' ', CHECKSUM.start, CHECKSUM.end);
    const checksum = header.reduce((sum, byte) => sum + byte, 0);
    header.write(`${checksum.toString(8).padStart(6, '0')}\0 `, CHECKSUM.start, 'latin1');
    offset += BLOCK_BYTES + Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES;
  }
  return bytes;
}
