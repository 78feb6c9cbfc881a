import { decodeName, refuseArchive } from './entries.ts';

const UTF8 = 'ISO-IR 10646 2000 UTF-8';
/** What changes where the content of an entry is or what it is: two readers would unpack two things. */
const REFUSED = ['size', 'linkpath', 'hdrcharset'];

/**
 * The path that a pax extended header gives (POSIX.1-2017 pax, "pax Extended Header"); undefined when it gives none.
 * Times, owners and comments are left out.
 */
export function readPax(content: Buffer, { isGlobal }: { isGlobal: boolean }): string | undefined {
  let path: string | undefined;
  for (const [key, value] of readRecords(content)) {
    if (key.startsWith('GNU.sparse.'))
      throw refuseArchive('it holds a sparse file; pack it without --sparse');
    if (key === 'hdrcharset' && value.toString() === UTF8) continue;
    if (REFUSED.includes(key) || (isGlobal && key === 'path')) {
      throw refuseArchive(`it has a ${isGlobal ? 'global ' : ''}pax header "${key}", which is not taken`);
    }
    if (key !== 'path') continue;
    if (path !== undefined) throw refuseArchive('it has a pax header with two paths');
    path = decodeName(value);
    if (path === undefined) throw refuseArchive('it has a pax header with a path that is not UTF-8');
    if (path === '') throw refuseArchive('it has a pax header with an empty path');
  }
  return path;
}

/** Each record is its own length in decimal, a space, a key, "=", a value and a line feed. */
function* readRecords(content: Buffer): Generator<[key: string, value: Buffer]> {
  let offset = 0;
  while (offset < content.length) {
    const length = /^([1-9]\d{0,5}) /.exec(content.toString('latin1', offset, offset + 8))?.[1] ?? '';
    const record = content.subarray(offset + length.length + 1, offset + Number(length));
    const equals = record.indexOf('=');
    if (length === '' || offset + Number(length) > content.length || equals < 1 || record.at(-1) !== 0x0a) {
      throw refuseArchive('it has a pax header that cannot be read');
    }
    yield [record.toString('latin1', 0, equals), record.subarray(equals + 1, -1)];
    offset += Number(length);
  }
}
