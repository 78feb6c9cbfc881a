/** Compiles `contracts/` into `contracts/artifacts/`: `node --import tsx scripts/contracts.ts`. */

import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';

const CONTRACTS = fileURLToPath(new URL('../contracts', import.meta.url));

const artifactSchema = z.object({
  abi: z.array(z.record(z.string(), z.unknown())),
  evm: z.object({
    bytecode: z.object({ object: z.string() }),
    deployedBytecode: z.object({ object: z.string() }),
  }),
});
const outputSchema = z.object({
  errors: z.array(z.object({ severity: z.string(), formattedMessage: z.string() })).default([]),
  contracts: z.record(z.string(), z.record(z.string(), artifactSchema)).default({}),
});

export type Artifact = {
  abi: Record<string, unknown>[];
  bytecode: `0x${string}`;
  deployedBytecode: `0x${string}`;
};

/** What is put on a chain; the other sources are what these import, and tests. */
const DEPLOYED = [
  'src/VersionAnchor.sol',
  'test/Multicall3Lite.sol',
  'test/TestUsdc.sol',
  'test/TestWallet.sol',
];

/** One artifact for every contract that is put on a chain, by its name. */
export function compileContracts(): Map<string, Artifact> {
  const sources = ['interfaces', 'src', 'test']
    .flatMap((folder) => readdirSync(join(CONTRACTS, folder)).map((file) => `${folder}/${file}`))
    .filter((path) => path.endsWith('.sol') && !path.endsWith('.t.sol'))
    .sort()
    .map((path) => [path, { content: readFileSync(join(CONTRACTS, path), 'utf8') }]);
  const output = outputSchema.parse(
    JSON.parse(
      loadCompiler().compile(
        JSON.stringify({
          language: 'Solidity',
          sources: Object.fromEntries(sources),
          settings: {
            optimizer: { enabled: true, runs: 200 },
            evmVersion: 'cancun',
            // Without the metadata hash the same source gives the same bytes on every machine.
            metadata: { bytecodeHash: 'none', appendCBOR: false },
            outputSelection: { '*': { '*': ['abi', 'evm.bytecode.object', 'evm.deployedBytecode.object'] } },
          },
        }),
      ),
    ),
  );
  const [problem] = output.errors.filter((error) => error.severity !== 'info');
  if (problem !== undefined) throw new Error(problem.formattedMessage);
  return new Map(DEPLOYED.map((path) => [basename(path, '.sol'), pickArtifact(output, path)]));
}

/** Where the committed artifact of a contract is. */
export function artifactPath(name: string): string {
  return join(CONTRACTS, 'artifacts', `${name}.json`);
}

function pickArtifact(output: z.infer<typeof outputSchema>, path: string): Artifact {
  const contract = output.contracts[path]?.[basename(path, '.sol')];
  if (contract === undefined) throw new Error(`${path} holds no contract of its own name`);
  const { bytecode, deployedBytecode } = contract.evm;
  return {
    abi: contract.abi,
    bytecode: `0x${bytecode.object}`,
    deployedBytecode: `0x${deployedBytecode.object}`,
  };
}

/** The compiler has no types of its own; this is all of it that is used. */
function loadCompiler(): { compile(input: string): string } {
  return createRequire(import.meta.url)('solc');
}

function writeArtifacts(): void {
  mkdirSync(join(CONTRACTS, 'artifacts'), { recursive: true });
  for (const [name, artifact] of compileContracts()) {
    writeFileSync(artifactPath(name), `${JSON.stringify(artifact, null, 2)}\n`);
    console.log(
      `contracts/artifacts/${name}.json: ${artifact.deployedBytecode.length / 2 - 1} bytes of code`,
    );
  }
  execFileSync(process.execPath, [findFormatter(), 'format', '--write', join(CONTRACTS, 'artifacts')], {
    stdio: 'ignore',
  });
}

function findFormatter(): string {
  return createRequire(import.meta.url).resolve('@biomejs/biome/bin/biome');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeArtifacts();
