type Segment = { kind: number; flags?: number; bytes?: bigint };
type Shape = {
  bits?: number;
  order?: number;
  version?: number;
  system?: number;
  machine?: number;
  type?: number;
  entry?: bigint;
  programs?: bigint;
  programBytes?: number;
  programCount?: number;
  segments?: Segment[];
  /** Tags and values of the dynamic section. */
  dynamic?: [tag: bigint, value: bigint][];
};

const ADDRESS = 0x400000n;

/** The headers of a static linux/amd64 program (System V ABI), wrong in any way that is asked for. */
export function makeElf(shape: Shape = {}): Buffer {
  const segments = shape.segments ?? [{ kind: 1 }];
  const dynamic = Buffer.concat((shape.dynamic ?? []).map(([tag, value]) => words(tag, value)));
  const dynamicStart = 64 + segments.length * 56;
  const file = Buffer.alloc(dynamicStart + dynamic.length + 16);
  file.write('\x7fELF', 'latin1');
  file.set([shape.bits ?? 2, shape.order ?? 1, shape.version ?? 1, shape.system ?? 0], 4);
  file.writeUInt16LE(shape.type ?? 2, 16);
  file.writeUInt16LE(shape.machine ?? 62, 18);
  file.writeBigUInt64LE(shape.entry ?? ADDRESS + 8n, 24);
  file.writeBigUInt64LE(shape.programs ?? 64n, 32);
  file.writeUInt16LE(shape.programBytes ?? 56, 54);
  file.writeUInt16LE(shape.programCount ?? segments.length, 56);
  segments.forEach(({ kind, flags = 5, bytes }, index) => {
    const at = 64 + index * 56;
    file.writeUInt32LE(kind, at);
    file.writeUInt32LE(flags, at + 4);
    file.writeBigUInt64LE(kind === 2 ? BigInt(dynamicStart) : 0n, at + 8);
    file.writeBigUInt64LE(ADDRESS, at + 16);
    file.writeBigUInt64LE(bytes ?? (kind === 2 ? BigInt(dynamic.length) : 64n), at + 32);
    file.writeBigUInt64LE(4096n, at + 40);
  });
  file.set(dynamic, dynamicStart);
  return file;
}

function words(...values: bigint[]): Buffer {
  const bytes = Buffer.alloc(values.length * 8);
  for (const [index, value] of values.entries()) bytes.writeBigUInt64LE(value, index * 8);
  return bytes;
}
