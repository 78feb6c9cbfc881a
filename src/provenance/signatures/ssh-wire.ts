/** Reads the data types of SSH (RFC 4251, section 5) one after the other. */
export type SshWire = {
  /** A length and that many bytes; empty when they are not there, and then `isRead` is false for good. */
  takeString(): Buffer;
  takeText(): string;
  takeBytes(length: number): Buffer;
  takeUint32(): number;
  takeRest(): Buffer;
  /** Whether all that was asked for was there, and nothing is left over. */
  isRead(): boolean;
};

export function openWire(bytes: Uint8Array): SshWire {
  const wire = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let offset = 0;
  let isCutOff = false;

  function takeBytes(length: number): Buffer {
    if (length > wire.length - offset) {
      isCutOff = true;
      return Buffer.alloc(0);
    }
    offset += length;
    return wire.subarray(offset - length, offset);
  }

  function takeUint32(): number {
    const bytes = takeBytes(4);
    return bytes.length === 4 ? bytes.readUInt32BE() : 0;
  }

  const takeString = () => takeBytes(takeUint32());

  return {
    takeString,
    takeText: () => takeString().toString('latin1'),
    takeBytes,
    takeUint32,
    takeRest: () => takeBytes(wire.length - offset),
    isRead: () => !isCutOff && offset === wire.length,
  };
}

/** A string as the wire has it. */
export function spellString(bytes: Uint8Array | string): Buffer {
  const content = Buffer.from(bytes);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(content.length);
  return Buffer.concat([length, content]);
}

/** The bytes of a positive mpint without its sign byte; undefined when it is not one, spelled the one way. */
export function readMpint(mpint: Buffer): Buffer | undefined {
  const [first, second = 0] = mpint;
  if (first === undefined || first >= 0x80) return undefined;
  if (first !== 0) return mpint;
  return second >= 0x80 ? mpint.subarray(1) : undefined;
}
