/** Where a field of the ELF64 file header is (System V ABI, "ELF Header"). */
const HEADER = {
  type: 16,
  machine: 18,
  entry: 24,
  programs: 32,
  programBytes: 54,
  programCount: 56,
} as const;
const HEADER_BYTES = 64;
const PROGRAM_BYTES = 56;
const PROGRAMS_MAX = 128;
const DYNAMIC_BYTES = 16;

const [EXECUTABLE, SHARED] = [2, 3];
const [LOAD, DYNAMIC, INTERPRETER] = [1, 2, 3];
const [NEEDED, FLAGS_1] = [1n, 0x6ffffffbn];
const IS_PROGRAM = 0x08000000n;
const MAY_EXECUTE = 1;
/** What processors are called in the header, by the name Node has for them. */
const MACHINES = { x64: 62, arm64: 183 } as const;

const BUILD = 'build it with CGO_ENABLED=0 GOOS=linux GOARCH=amd64';

/**
 * Why a file is not a program that runs by itself in a jail, which has neither a dynamic linker nor libraries;
 * undefined when it is. `processor` is the gateway's own: x86-64 is taken everywhere.
 */
export function refuseProgram(file: Buffer, processor: string): string | undefined {
  const foreign = refuseForeign(file);
  if (foreign !== undefined) return foreign;
  const machine = file.readUInt16LE(HEADER.machine);
  const isOurs = processor === 'arm64' && machine === MACHINES.arm64;
  if (machine !== MACHINES.x64 && !isOurs) return `is built for another processor; ${BUILD}`;
  const type = file.readUInt16LE(HEADER.type);
  if (type !== EXECUTABLE && type !== SHARED)
    return `is no program that starts, such as an object file; ${BUILD}`;
  const programs = readPrograms(file);
  if (typeof programs === 'string') return programs;
  if (programs.some(({ kind }) => kind === INTERPRETER)) {
    return `is linked dynamically and asks for a loader (PT_INTERP), which no jail has; ${BUILD}`;
  }
  return refuseLinks(file, programs, type) ?? refuseEntry(file, programs);
}

function refuseForeign(file: Buffer): string | undefined {
  const magic = file.toString('latin1', 0, 4);
  if (magic.startsWith('MZ')) return `is a Windows program; ${BUILD}`;
  if (/^(?:\xcf\xfa\xed\xfe|\xce\xfa\xed\xfe|\xca\xfe\xba\xbe)/.test(magic))
    return `is a macOS program; ${BUILD}`;
  if (magic.startsWith('#!')) return 'is a script; the entrypoint is the compiled program itself';
  if (magic !== '\x7fELF') return `is no ELF program; ${BUILD}`;
  if (file.length < HEADER_BYTES) return 'is cut off inside its ELF header';
  if (file[4] !== 2) return `is a 32-bit program; ${BUILD}`;
  if (file[5] !== 1) return `is a big-endian program; ${BUILD}`;
  if (file[6] !== 1) return 'has an ELF version that does not exist';
  // 0 is System V, which Go and GCC write; 3 is GNU/Linux.
  if (file[7] !== 0 && file[7] !== 3) return `is built for another system than Linux; ${BUILD}`;
  return undefined;
}

type Program = {
  kind: number;
  flags: number;
  offset: bigint;
  address: bigint;
  fileBytes: bigint;
  memoryBytes: bigint;
};

function readPrograms(file: Buffer): Program[] | string {
  const start = file.readBigUInt64LE(HEADER.programs);
  const count = file.readUInt16LE(HEADER.programCount);
  if (count === 0 || count > PROGRAMS_MAX)
    return `has ${count} program headers; 1 to ${PROGRAMS_MAX} make sense`;
  if (file.readUInt16LE(HEADER.programBytes) !== PROGRAM_BYTES) return 'has program headers of a wrong size';
  if (start + BigInt(count * PROGRAM_BYTES) > BigInt(file.length))
    return 'is cut off before its program headers end';
  const programs = Array.from({ length: count }, (_, index) =>
    readProgram(file, Number(start) + index * PROGRAM_BYTES),
  );
  const isWhole = programs.every(({ offset, fileBytes }) => offset + fileBytes <= BigInt(file.length));
  return isWhole ? programs : 'is cut off before its segments end';
}

function readProgram(file: Buffer, at: number): Program {
  return {
    kind: file.readUInt32LE(at),
    flags: file.readUInt32LE(at + 4),
    offset: file.readBigUInt64LE(at + 8),
    address: file.readBigUInt64LE(at + 16),
    fileBytes: file.readBigUInt64LE(at + 32),
    memoryBytes: file.readBigUInt64LE(at + 40),
  };
}

/** A static program may carry a dynamic section to relocate itself ("static-pie"), but needs no library. */
function refuseLinks(file: Buffer, programs: readonly Program[], type: number): string | undefined {
  let isProgram = type === EXECUTABLE;
  for (const { kind, offset, fileBytes } of programs) {
    if (kind !== DYNAMIC) continue;
    const end = Number(offset + fileBytes);
    for (let at = Number(offset); at + DYNAMIC_BYTES <= end; at += DYNAMIC_BYTES) {
      const [tag, value] = [file.readBigUInt64LE(at), file.readBigUInt64LE(at + 8)];
      if (tag === NEEDED) return `needs shared libraries (DT_NEEDED), which no jail has; ${BUILD}`;
      if (tag === FLAGS_1 && (value & IS_PROGRAM) !== 0n) isProgram = true;
    }
  }
  return isProgram ? undefined : `is a shared library and no program; ${BUILD}`;
}

function refuseEntry(file: Buffer, programs: readonly Program[]): string | undefined {
  const entry = file.readBigUInt64LE(HEADER.entry);
  const isInside = programs.some(
    ({ kind, flags, address, memoryBytes }) =>
      kind === LOAD && (flags & MAY_EXECUTE) !== 0 && entry >= address && entry < address + memoryBytes,
  );
  return isInside ? undefined : 'starts outside of its own code';
}
