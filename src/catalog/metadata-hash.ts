import { sha256Hex } from '../core/bytes.ts';
import { canonicalJson } from '../core/canonical-json.ts';
import { toPricingJson } from './price-list.ts';
import type { Submission } from './submission.ts';

/**
 * SHA-256 over everything the publisher said of a version but its code, hex. What is not declared does not count, so
 * that a version from before a member existed keeps its hash.
 */
export function hashMetadata(submission: Submission): string {
  const { files: _, pricing, limits, ...rest } = submission;
  const hosts = submission.tier === 'hobbyist' ? submission.hosts : [];
  return sha256Hex(
    canonicalJson({
      ...rest,
      hosts: hosts.length > 0 ? hosts : undefined,
      limits: Object.keys(limits).length > 0 ? limits : undefined,
      pricing: toPricingJson(pricing),
    }),
  );
}
