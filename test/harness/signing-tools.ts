import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const TIMEOUT_MS = 60_000;
const IDENTITY = 'publisher@example.test';

/**
 * The tools that publishers sign with, each in a folder of its own: ssh-keygen, GnuPG and minisign, which
 * `debian-packages.ts` installs. A `verify` answers whether the tool accepts the signature.
 */
export type SigningTools = {
  ssh: SshTool;
  gpg: GpgTool;
  minisign: MinisignTool;
  remove(): void;
};

export function createSigningTools(): SigningTools {
  const folder = mkdtempSync(join(tmpdir(), 'millicent-sign-'));
  const files = createFiles(folder);
  const home = join(folder, 'gnupg');
  mkdirSync(home, { mode: 0o700 });
  return {
    ssh: createSsh(files),
    gpg: createGpg(files, home),
    minisign: createMinisign(files),
    remove() {
      spawnSync('gpgconf', ['--homedir', home, '--kill', 'all'], { stdio: 'ignore', timeout: TIMEOUT_MS });
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

type Files = { path(): string; write(content: Uint8Array | string): string };

function createFiles(folder: string): Files {
  let count = 0;
  const path = () => {
    count += 1;
    return join(folder, `file-${count}`);
  };
  return {
    path,
    write(content) {
      const file = path();
      writeFileSync(file, content, { mode: 0o600 });
      return file;
    },
  };
}

export type SshTool = {
  /** A key without passphrase: where its secret is, and its public line. */
  makeKey(type?: string, options?: string[]): { path: string; publicKey: string };
  sign(keyPath: string, data: Uint8Array, input: { namespace: string; options?: string[] }): string;
  verify(publicKey: string, data: Uint8Array, input: { signature: string; namespace: string }): boolean;
  fingerprint(publicKey: string): string;
};

function createSsh(files: Files): SshTool {
  return {
    makeKey(type = 'ed25519', options = []) {
      const path = files.path();
      run('ssh-keygen', ['-q', '-t', type, ...options, '-N', '', '-C', IDENTITY, '-f', path]);
      return { path, publicKey: readFileSync(`${path}.pub`, 'utf8') };
    },
    sign(keyPath, data, { namespace, options = [] }) {
      const file = files.write(data);
      run('ssh-keygen', ['-q', '-Y', 'sign', ...options, '-n', namespace, '-f', keyPath, file]);
      return readFileSync(`${file}.sig`, 'utf8');
    },
    verify(publicKey, data, { signature, namespace }) {
      const allowed = files.write(`${IDENTITY} ${publicKey}`);
      const args = [
        '-Y',
        'verify',
        '-f',
        allowed,
        '-I',
        IDENTITY,
        '-n',
        namespace,
        '-s',
        files.write(signature),
      ];
      return spawn('ssh-keygen', args, { input: data }).status === 0;
    },
    fingerprint(publicKey) {
      return run('ssh-keygen', ['-l', '-f', files.write(publicKey)]).split(' ')[1] ?? '';
    },
  };
}

export type GpgTool = {
  /** A key's fingerprint. `expires` is GnuPG's: 0, 1d, seconds=60. */
  makeKey(input?: { algorithm?: string; usage?: string; expires?: string; at?: Date }): string;
  addSubkey(fingerprint: string, input?: { algorithm?: string; expires?: string; at?: Date }): string;
  /** With the revocation certificate that GnuPG makes beside each key. */
  revoke(fingerprint: string): void;
  /** Reasons are GnuPG's: 0 none, 2 superseded, which says nothing of the time before. */
  revokeSubkey(fingerprint: string, reason?: 0 | 2): void;
  /** One key signs another one's user id. */
  certify(by: string, fingerprint: string): void;
  exportKey(fingerprint: string): string;
  exportSecretKey(fingerprint: string): string;
  importKey(armored: string): void;
  sign(fingerprint: string, data: Uint8Array, input?: { at?: Date; options?: string[] }): string;
  signBinary(fingerprint: string, data: Uint8Array): Buffer;
  /** Exit code 0 says little: an expired key has it too. The primary key's fingerprint is compared. */
  verify(
    key: Uint8Array | string,
    data: Uint8Array,
    input: { signature: Uint8Array | string; fingerprint: string; at?: Date },
  ): boolean;
};

function createGpg(files: Files, home: string): GpgTool {
  const gpg = (args: string[], options: { at?: Date | undefined; input?: string } = {}) =>
    run('gpg', gpgArgs(home, args, options.at), options);
  const listFingerprints = (fingerprint: string) =>
    [
      ...gpg(['--with-colons', '--with-subkey-fingerprint', '--list-keys', fingerprint]).matchAll(
        /^fpr:+([0-9A-F]+):/gm,
      ),
    ].map(([, found = '']) => found);

  function sign(fingerprint: string, data: Uint8Array, input: { at?: Date; options?: string[] }): Buffer {
    const out = files.path();
    // The exclamation mark: this key, not the newest subkey.
    gpg(
      ['-u', `${fingerprint}!`, ...(input.options ?? []), '--detach-sign', '-o', out, files.write(data)],
      input,
    );
    return readFileSync(out);
  }

  return {
    makeKey({ algorithm = 'ed25519', usage = 'sign', expires = '0', at } = {}) {
      const args = ['--status-fd', '1', '--quick-gen-key', `Acme <${IDENTITY}>`, algorithm, usage, expires];
      const made = /KEY_CREATED \S+ ([0-9A-F]+)/.exec(gpg(['--yes', ...args], { at }));
      if (!made?.[1]) throw new Error('gpg made no key');
      return made[1];
    },
    addSubkey(fingerprint, { algorithm = 'ed25519', expires = '0', at } = {}) {
      gpg(['--quick-add-key', fingerprint, algorithm, 'sign', expires], { at });
      return listFingerprints(fingerprint).at(-1) ?? '';
    },
    revoke(fingerprint) {
      const text = readFileSync(join(home, 'openpgp-revocs.d', `${fingerprint}.rev`), 'utf8');
      gpg(['--import', files.write(text.replace(/^:-----BEGIN/m, '-----BEGIN'))]);
    },
    revokeSubkey(fingerprint, reason = 0) {
      const input = ['key 1', 'revkey', 'y', `${reason}`, '', 'y', 'save', ''].join('\n');
      gpg(['--command-fd', '0', '--edit-key', fingerprint], { input });
    },
    certify: (by, fingerprint) => void gpg(['--yes', '-u', by, '--quick-sign-key', fingerprint]),
    exportKey: (fingerprint) => gpg(['--armor', '--export', fingerprint]),
    exportSecretKey: (fingerprint) => gpg(['--armor', '--export-secret-keys', fingerprint]),
    importKey: (armored) => void gpg(['--import', files.write(armored)]),
    sign: (fingerprint, data, input = {}) =>
      sign(fingerprint, data, { ...input, options: ['--armor', ...(input.options ?? [])] }).toString('utf8'),
    signBinary: (fingerprint, data) => sign(fingerprint, data, {}),
    verify(key, data, { signature, fingerprint, at }) {
      const other = files.path();
      mkdirSync(other, { mode: 0o700 });
      spawn('gpg', gpgArgs(other, ['--import', files.write(key)], at));
      const args = ['--status-fd', '1', '--verify', files.write(signature), files.write(data)];
      const { status, stdout } = spawn('gpg', gpgArgs(other, args, at));
      const isGood = /^\[GNUPG:\] GOODSIG /m.test(stdout);
      const signer = /^\[GNUPG:\] VALIDSIG .* ([0-9A-F]{40})$/m.exec(stdout)?.[1];
      return status === 0 && isGood && signer === fingerprint;
    },
  };
}

function gpgArgs(home: string, args: string[], at: Date | undefined): string[] {
  const time = at ? ['--faked-system-time', String(Math.floor(at.getTime() / 1000))] : [];
  const quiet = ['--batch', '--no-tty', '--quiet', '--pinentry-mode', 'loopback', '--passphrase', ''];
  return [
    '--homedir',
    home,
    ...quiet,
    '--no-auto-check-trustdb',
    '--trust-model',
    'always',
    ...time,
    ...args,
  ];
}

export type MinisignTool = {
  makeKey(): { path: string; publicKey: string };
  sign(keyPath: string, data: Uint8Array, options?: string[]): string;
  /** `-H` refuses what is not prehashed. */
  verify(publicKey: string, data: Uint8Array, input: { signature: string; options?: string[] }): boolean;
};

function createMinisign(files: Files): MinisignTool {
  return {
    makeKey() {
      const path = files.path();
      run('minisign', ['-G', '-W', '-p', `${path}.pub`, '-s', path]);
      return { path, publicKey: readFileSync(`${path}.pub`, 'utf8') };
    },
    sign(keyPath, data, options = []) {
      const out = files.path();
      run('minisign', ['-S', '-s', keyPath, '-x', out, '-m', files.write(data), ...options]);
      return readFileSync(out, 'utf8');
    },
    verify(publicKey, data, { signature, options = ['-H'] }) {
      const args = ['-p', files.write(publicKey), '-x', files.write(signature), '-m', files.write(data)];
      return spawn('minisign', ['-V', ...options, ...args]).status === 0;
    },
  };
}

type SpawnInput = { input?: Uint8Array | string };

function spawn(program: string, args: string[], { input }: SpawnInput = {}) {
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    ...{ encoding: 'utf8', timeout: TIMEOUT_MS, ...(input === undefined ? {} : { input }) },
  });
  // A tool that has seen enough does not read the rest of its input: that error is none.
  if (status === null) {
    throw new Error(`${program} did not run: install gnupg, openssh-client and minisign (${error?.message})`);
  }
  return { status, stdout, stderr };
}

function run(program: string, args: string[], options: SpawnInput = {}): string {
  const { status, stdout, stderr } = spawn(program, args, options);
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr || stdout}`);
  return stdout;
}
