import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { expect, it } from 'vitest';
import { refuseProgram } from '../../src/catalog/elf.ts';
import { createBody, parse, refusalOf } from './fixtures.ts';
import { makeElf } from './program-bytes.ts';

const PROGRAM = makeElf();

const REFUSED: [what: string, file: Buffer, why: RegExp][] = [
  ['is empty', Buffer.alloc(0), /is no ELF program; build it with CGO_ENABLED=0 GOOS=linux GOARCH=amd64/],
  ['is for Windows', Buffer.from('MZ\x90\0'.padEnd(100)), /is a Windows program; build/],
  ['is for macOS', Buffer.from('cffaedfe0c000001', 'hex'), /is a macOS program; build/],
  ['is for macOS twice over', Buffer.from('cafebabe00000002', 'hex'), /is a macOS program; build/],
  ['is a script', Buffer.from('#!/bin/sh\n'), /is a script/],
  ['is text', Buffer.from('package main'), /is no ELF program/],
  ['ends in its header', PROGRAM.subarray(0, 40), /cut off inside its ELF header/],
  ['is of 32 bits', makeElf({ bits: 1 }), /32-bit/],
  ['is big-endian', makeElf({ order: 2 }), /big-endian/],
  ['has another ELF version', makeElf({ version: 9 }), /version that does not exist/],
  ['is for FreeBSD', makeElf({ system: 9 }), /another system than Linux/],
  ['is for ARM where the gateway is not', makeElf({ machine: 183 }), /another processor/],
  ['is for RISC-V', makeElf({ machine: 243 }), /another processor/],
  ['is an object file', makeElf({ type: 1 }), /is no program that starts/],
  ['is a core dump', makeElf({ type: 4 }), /is no program that starts/],
  ['has no segment', makeElf({ programCount: 0 }), /has 0 program headers/],
  ['has too many segments', makeElf({ programCount: 200 }), /has 200 program headers/],
  ['has segments of another size', makeElf({ programBytes: 32 }), /wrong size/],
  [
    'tells its segments beyond its end',
    makeElf({ programs: 1n << 40n }),
    /cut off before its program headers end/,
  ],
  [
    'has a segment beyond its end',
    makeElf({ segments: [{ kind: 1, bytes: 1n << 40n }] }),
    /before its segments end/,
  ],
  [
    'asks for a loader',
    makeElf({ segments: [{ kind: 1 }, { kind: 3 }] }),
    /asks for a loader \(PT_INTERP\).*CGO_ENABLED=0/,
  ],
  [
    'needs libraries',
    makeElf({ segments: [{ kind: 1 }, { kind: 2 }], dynamic: [[1n, 1n]] }),
    /shared libraries \(DT_NEEDED\)/,
  ],
  ['is a library', makeElf({ type: 3, segments: [{ kind: 1 }, { kind: 2 }] }), /is a shared library/],
  ['starts nowhere', makeElf({ entry: 0n }), /starts outside of its own code/],
  ['starts in its data', makeElf({ segments: [{ kind: 1, flags: 6 }] }), /starts outside of its own code/],
];

it.each(REFUSED)('a program that %s is refused, with what to build instead', async (_, file, why) => {
  expect(refuseProgram(file, 'x64')).toMatch(why);
  const body = createBody({
    ...{ language: 'go', entrypoint: 'server' },
    files: { server: { base64: file.toString('base64') } },
  });
  const refused = await refusalOf(() => parse(body));
  expect(refused).toMatchObject({ type: 'invalid-code', options: { members: { field: 'entrypoint' } } });
  expect(refused.message).toMatch(/^entrypoint: "server" .*\.$/);
});

it('a static program is taken: as it is, position-independent, for Linux by name, and for ARM where the gateway is', () => {
  expect(refuseProgram(PROGRAM, 'x64')).toBeUndefined();
  expect(refuseProgram(makeElf({ system: 3 }), 'x64')).toBeUndefined();
  const pie = makeElf({
    type: 3,
    segments: [{ kind: 1 }, { kind: 2 }],
    dynamic: [[0x6ffffffbn, 0x08000001n]],
  });
  expect(refuseProgram(pie, 'x64')).toBeUndefined();
  expect(refuseProgram(makeElf({ machine: 183 }), 'arm64')).toBeUndefined();
  expect(refuseProgram(PROGRAM, 'arm64')).toBeUndefined();
});

it('a program that Go built is taken, and the dynamically linked Node that runs this is not', () => {
  const esbuild = createRequire(import.meta.url).resolve(`@esbuild/linux-${process.arch}/bin/esbuild`);
  expect(refuseProgram(readFileSync(esbuild), process.arch)).toBeUndefined();
  expect(refuseProgram(readFileSync(process.execPath), process.arch)).toMatch(/PT_INTERP/);
});

it('a program with any byte of its headers changed is judged, and never breaks the judge', () => {
  for (let index = 0; index < 64 + 2 * 56; index += 1) {
    for (const value of [0, 0x7f, 0x80, 0xff]) {
      const changed = Buffer.from(makeElf({ segments: [{ kind: 1 }, { kind: 2 }] }));
      changed[index] = value;
      expect(['undefined', 'string']).toContain(typeof refuseProgram(changed, 'x64'));
    }
  }
});
