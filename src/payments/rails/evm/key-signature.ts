import { createRequire } from 'node:module';
import { domainSeparator, type Hex, keccak256, recoverAddress, stringToBytes } from 'viem';
import type { Log } from '../../../core/log.ts';
import type { Eip3009Form } from '../../form.ts';
import { isKeySignature, type Token } from './token.ts';

/** Checks signatures over one token's authorizations without asking the chain. */
export type SignatureCheck = {
  /** The EIP-712 hash that the payer signs (EIP-3009). */
  hash(form: Eip3009Form): Hex;
  /** Whether the key of `from` made the signature; a mirrored `s` is refused, as tokens do. */
  isSignedByKey(form: Eip3009Form, hash: Hex): Promise<boolean>;
};

const TRANSFER_TYPE = keccak256(
  stringToBytes(
    'TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)',
  ),
);
/** Half the order of secp256k1: above it a signature is the mirror image of another one. */
const CANONICAL_S_MAX = '7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0';

/**
 * The hot path of every payment: the token's domain is hashed once, a struct of words needs no encoder, and the
 * public key is recovered by libsecp256k1 where its addon is there, and by viem where it is not.
 */
export function createSignatureCheck(token: Token, chainId: number, log: Log): SignatureCheck {
  const domain = domainSeparator({
    domain: { name: token.name, version: token.version, chainId, verifyingContract: token.address },
  });
  const prefix = `1901${domain.slice(2)}`;
  const native = loadNative();
  if (native === undefined) log.warn({}, 'no native secp256k1: signatures are checked in JavaScript, slowly');
  return {
    hash: (form) => keccak256(Buffer.from(prefix + hashStruct(form).slice(2), 'hex')),
    async isSignedByKey(form, hash) {
      if (!isKeySignature(form.signature)) return false;
      // Both are 64 lower-case digits, so their order as text is their order as numbers.
      if (form.signature.slice(66, 130) > CANONICAL_S_MAX) return false;
      const signer = native
        ? recoverNatively(native, form.signature, hash)
        : await recover(form.signature, hash);
      return signer === form.from;
    },
  };
}

/** Terms beyond a word were refused before: the values are what the quote and the clock allow. */
function hashStruct(form: Eip3009Form): Hex {
  const { from, to, value, validAfter, validBefore, nonce } = form;
  const words = [TRANSFER_TYPE, from, to].map((word) => word.slice(2).padStart(64, '0'));
  const numbers = [value, validAfter, validBefore].map((number) => number.toString(16).padStart(64, '0'));
  return keccak256(Buffer.from(words.join('') + numbers.join('') + nonce.slice(2), 'hex'));
}

/** What is used of the addon; the package's JavaScript fallback is never loaded. */
type Native = {
  ecdsaRecover(
    signature: Uint8Array,
    recovery: number,
    message: Uint8Array,
    isCompressed: boolean,
  ): Uint8Array;
};

/** Undefined where no addon was built for this platform. */
function loadNative(): Native | undefined {
  try {
    return createRequire(import.meta.url)('secp256k1/bindings');
  } catch {
    return undefined;
  }
}

/** Whether signatures are checked by the native addon here. */
export function isNative(): boolean {
  return loadNative() !== undefined;
}

function recoverNatively(native: Native, signature: Hex, hash: Hex): string | undefined {
  const bytes = Buffer.from(signature.slice(2), 'hex');
  const recovery = recoveryOf(bytes[64]);
  if (recovery === undefined) return undefined;
  try {
    const key = native.ecdsaRecover(
      bytes.subarray(0, 64),
      recovery,
      Buffer.from(hash.slice(2), 'hex'),
      false,
    );
    return `0x${keccak256(key.subarray(1)).slice(26)}`;
  } catch {
    // Not a point on the curve: no key made it.
    return undefined;
  }
}

/** Tokens take 27 and 28; 0 and 1 are the same, spelled as newer signers do. */
function recoveryOf(v: number | undefined): number | undefined {
  if (v === 27 || v === 28) return v - 27;
  return v === 0 || v === 1 ? v : undefined;
}

async function recover(signature: Hex, hash: Hex): Promise<string | undefined> {
  try {
    return (await recoverAddress({ hash, signature })).toLowerCase();
  } catch {
    return undefined;
  }
}
