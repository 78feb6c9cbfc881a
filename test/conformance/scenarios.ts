import type { Results } from './suites.ts';

/** The scenarios in which a check failed. */
export const failing = (results: Results) =>
  Object.entries(results).flatMap(([scenario, { failed, why }]) =>
    failed > 0 ? [[scenario, ...why].join(', ')] : [],
  );
/** The scenarios in which checks were made and none failed, in order. */
export const passing = (results: Results) =>
  Object.entries(results)
    .flatMap(([scenario, { passed, failed }]) => (failed === 0 && passed > 0 ? [scenario] : []))
    .sort();

/** What every revision has, as the suites name it. */
const EVERYWHERE = [
  ...[
    'completion-complete',
    'dns-rebinding-protection',
    'json-schema-2020-12',
    'prompts-get-embedded-resource',
  ],
  ...['prompts-get-simple', 'prompts-get-with-args', 'prompts-get-with-image', 'prompts-list'],
  ...['resources-list', 'resources-read-binary', 'resources-read-text', 'resources-templates-read'],
  ...['server-sse-multiple-streams', 'tools-call-audio', 'tools-call-embedded-resource', 'tools-call-error'],
  ...['tools-call-image', 'tools-call-mixed-content', 'tools-call-simple-text', 'tools-call-with-progress'],
  'tools-list',
];

/** What the 2025 revisions ask of a server that offers everything. */
export const HANDSHAKE = [
  ...EVERYWHERE,
  ...['elicitation-sep1034-defaults', 'elicitation-sep1330-enums', 'logging-set-level', 'ping'],
  ...['resources-subscribe', 'resources-unsubscribe', 'server-initialize', 'tools-call-elicitation'],
  ...['tools-call-sampling', 'tools-call-with-logging'],
];

/** The same of 2026-07-28. */
export const STATELESS = [
  ...EVERYWHERE,
  ...['caching', 'http-custom-header-server-validation', 'http-header-validation'],
  ...[
    'basic-elicitation',
    'basic-list-roots',
    'basic-sampling',
    'capability-check',
    'ignore-extra-params',
  ].map((name) => `input-required-result-${name}`),
  ...['missing-input-response', 'multi-round', 'multiple-input-requests', 'non-tool-request'].map(
    (name) => `input-required-result-${name}`,
  ),
  ...['request-state', 'result-type', 'tampered-state', 'unsupported-methods', 'validate-input'].map(
    (name) => `input-required-result-${name}`,
  ),
  ...['sep-2164-resource-not-found', 'server-stateless'],
];

/**
 * Tasks are an extension that is not offered here: a task outlives its call, and what a call starts does not. The
 * suite runs these for information, and not as part of what the revision requires.
 */
export const TASKS = /^tasks-/;
