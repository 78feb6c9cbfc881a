import { invariant } from '../../core/invariant.ts';

/** One classic BPF instruction (`struct sock_filter` of linux/filter.h). */
export type Instruction = { code: number; jumpTrue: number; jumpFalse: number; operand: number };

const INSTRUCTION_BYTES = 8;
/** BPF_MAXINSNS: the kernel takes no longer program. */
const INSTRUCTIONS_MAX = 4096;
/** A conditional jump has one byte for its distance. */
const JUMP_MAX = 255;

/** The bytes that the kernel loads: native byte order, which is little-endian on both of our architectures. */
export function assemble(program: readonly Instruction[]): Buffer {
  invariant(program.length <= INSTRUCTIONS_MAX, `a filter of ${program.length} instructions is too long`);
  const bytes = Buffer.alloc(program.length * INSTRUCTION_BYTES);
  for (const [index, { code, jumpTrue, jumpFalse, operand }] of program.entries()) {
    const longest = Math.max(jumpTrue, jumpFalse);
    const isInside = longest === 0 || index + 1 + longest < program.length;
    invariant(longest <= JUMP_MAX && isInside, `instruction ${index} jumps too far`);
    const offset = index * INSTRUCTION_BYTES;
    bytes.writeUInt16LE(code, offset);
    bytes.writeUInt8(jumpTrue, offset + 2);
    bytes.writeUInt8(jumpFalse, offset + 3);
    bytes.writeUInt32LE(operand, offset + 4);
  }
  return bytes;
}

/** BPF_LD | BPF_W | BPF_ABS: loads the 32-bit word at `offset` of `struct seccomp_data`. */
export function load(offset: number): Instruction {
  return { code: 0x20, jumpTrue: 0, jumpFalse: 0, operand: offset };
}

/** BPF_ALU | BPF_AND | BPF_K. */
export function mask(bits: number): Instruction {
  return { code: 0x54, jumpTrue: 0, jumpFalse: 0, operand: bits >>> 0 };
}

/** BPF_JMP | BPF_JEQ | BPF_K; the jumps say how many instructions to skip. */
export function jumpIfEqual(value: number, jumpTrue: number, jumpFalse: number): Instruction {
  return { code: 0x15, jumpTrue, jumpFalse, operand: value >>> 0 };
}

/** BPF_JMP | BPF_JGE | BPF_K, unsigned. */
export function jumpIfAtLeast(value: number, jumpTrue: number, jumpFalse: number): Instruction {
  return { code: 0x35, jumpTrue, jumpFalse, operand: value >>> 0 };
}

/** BPF_RET | BPF_K. */
export function answer(value: number): Instruction {
  return { code: 0x06, jumpTrue: 0, jumpFalse: 0, operand: value >>> 0 };
}
