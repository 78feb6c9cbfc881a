import { writeArchive } from '../../src/core/archive.ts';
import { sha256Hex } from '../../src/core/bytes.ts';
import type { Code } from '../../src/execution/index.ts';

/**
 * A static x86-64 binary that is an MCP server: it answers the first request as `initialize` and every other with
 * `structured` (JSON), after it ran an attack. No compiler is needed to make one.
 */
export function answeringElf(structured: string, attack: string = 'none'): Code {
  const text = JSON.stringify(structured);
  const result = `{"content":[{"type":"text","text":${text}}],"structuredContent":${structured}}`;
  const file = assembleElf(result, ATTACKS[attack] ?? ATTACKS.none ?? '');
  const archive = writeArchive(new Map([['server', file]]));
  return { sha256: sha256Hex(archive), runtime: 'elf', entrypoint: 'server', archive };
}

/** The same server with this result (JSON) for every request after the first. */
export function elfServer(result: string): Buffer {
  return assembleElf(result, ATTACKS.none ?? '');
}

const bytesOf = (hex: string) => Buffer.from(hex.replace(/;.*$|\s+/gm, ''), 'hex');

/** In place of the answer: machine code that ends with `ret`, or never. */
const ATTACKS: Record<string, string> = {
  none: 'c3',
  cpu_spin: 'ebfe',
  fork_bomb: `
    b839000000 0f05       ; fork()
    ebf7                  ; again`,
  memory_bomb: `
    31ff be00000001       ; 16 MB
    ba03000000 41ba21800000 4983c8ff 4531c9   ; read and write, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE
    b809000000 0f05       ; mmap
    ebde                  ; again`,
  netlink: `
    b829000000 bf10000000 be03000000 31d2 0f05   ; socket(AF_NETLINK, SOCK_RAW, 0)
    f7d8 89c7 b8e7000000 0f05                    ; exit(-result)`,
  mount: `
    b8a5000000 31ff 31f6 31d2 4531d2 4531c0 0f05 ; mount(0, 0, 0, 0, 0)
    f7d8 89c7 b8e7000000 0f05                    ; exit(-result)`,
  int80: `
    b814000000 cd80 c3    ; getpid of i386`,
  stdout_flood: `
    bf01000000 488d742400 ba00000100 b801000000 0f05   ; write(1, stack, 65536)
    ebe8                  ; again`,
};

/** Reads lines; one that is a request (its id, of one digit, comes second) is answered with that id. */
const SERVER = `
    4881ec00000200 4531e4     ; a buffer on the stack; no request yet
    31db                      ; line:
    31c0 31ff 488d341c ba01000000 0f05   ; byte: read(0, buffer + length, 1)
    83f801 7558               ; if not one byte: end
    ffc3 803e0a 75e5          ; until a line feed
    817c241122696422 75d9     ; unless "id" stands there: line
    8a442416 4585e4 7514      ; the digit; if it is not the first request: second
    8805aaaaaaaa 488d35aaaaaaaa baaaaaaaaa eb19        ; the greeting with the digit in it
    50 e8aaaaaaaa 58          ; second: attack
    8805aaaaaaaa 488d35aaaaaaaa baaaaaaaaa             ; the answer with the digit in it
    41ffc4 bf01000000 b801000000 0f05 eb92             ; write(1, it); line
    31ff b8e7000000 0f05      ; end: exit(0)`;

/** Where SERVER holds numbers to be filled in, each a displacement from the instruction's end. */
const AT = { greetingId: 0x3c, greeting: 0x43, greetingLength: 0x48, attack: 0x50 } as const;
const ANSWER_AT = { id: 0x57, text: 0x5e, length: 0x63 } as const;

const ID = '{"jsonrpc":"2.0","id":';
const ELF_HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
const BASE = 0x400000n;

function assembleElf(result: string, attack: string): Buffer {
  const server = bytesOf(SERVER);
  const greeting = Buffer.from(
    `${ID}0,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"elf","version":"1"}}}\n`,
  );
  const answer = Buffer.from(`${ID}0,"result":${result}}\n`);
  const attackCode = bytesOf(attack);
  const greetingStart = server.length + attackCode.length;
  const answerStart = greetingStart + greeting.length;
  const point = (at: number, target: number) => server.writeInt32LE(target - (at + 4), at);
  point(AT.greetingId, greetingStart + ID.length);
  point(AT.greeting, greetingStart);
  server.writeInt32LE(greeting.length, AT.greetingLength);
  point(AT.attack, server.length);
  point(ANSWER_AT.id, answerStart + ID.length);
  point(ANSWER_AT.text, answerStart);
  server.writeInt32LE(answer.length, ANSWER_AT.length);
  const program = Buffer.concat([server, attackCode, greeting, answer]);
  return Buffer.concat([writeHeaders(program.length), program]);
}

/** ELF-64, executable, x86-64; one segment to read, write and execute (elf(5)). */
function writeHeaders(programBytes: number): Buffer {
  const headerBytes = ELF_HEADER_BYTES + PROGRAM_HEADER_BYTES;
  const header = Buffer.alloc(headerBytes);
  header.write('7f454c4602010100', 'hex');
  header.writeUInt16LE(2, 16);
  header.writeUInt16LE(62, 18);
  header.writeUInt32LE(1, 20);
  header.writeBigUInt64LE(BASE + BigInt(headerBytes), 24);
  header.writeBigUInt64LE(BigInt(ELF_HEADER_BYTES), 32);
  header.writeUInt16LE(ELF_HEADER_BYTES, 52);
  header.writeUInt16LE(PROGRAM_HEADER_BYTES, 54);
  header.writeUInt16LE(1, 56);
  header.writeUInt32LE(1, 64);
  header.writeUInt32LE(7, 68);
  header.writeBigUInt64LE(BASE, 80);
  header.writeBigUInt64LE(BASE, 88);
  header.writeBigUInt64LE(BigInt(headerBytes + programBytes), 96);
  header.writeBigUInt64LE(BigInt(headerBytes + programBytes), 104);
  header.writeBigUInt64LE(4096n, 112);
  return header;
}
