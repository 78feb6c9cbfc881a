import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createServer } from 'node:https';
import { TEST_TLS } from './tls.ts';

/** An entry of a package: a file, or a link to somewhere. */
export type PackageEntry = { path: string; text?: string; linkTo?: string; mode?: number };

export type PackageIndex = {
  /** `https://index.allowed.test:<port>`: a PEP 503 index below `/simple`, an npm registry below `/npm`. */
  origin: string;
  host: string;
  /** Every path that was asked for. */
  asked: string[];
  /** Serves a wheel; answers the line of a requirements.txt. */
  addWheel(name: string, entries: PackageEntry[], version?: string): string;
  /** Serves a source distribution, and nothing else of that name. */
  addSource(name: string, entries: PackageEntry[]): string;
  /** What the index says of a name instead. */
  answer(path: string, type: string, body: string): void;
  /** Serves a tarball; answers its entry in a package-lock.json. */
  addTarball(name: string, entries: PackageEntry[], manifest?: object): Record<string, unknown>;
  close(): Promise<void>;
};

/** An index of packages on loopback, for wheels and tarballs that no real index would take. */
export async function startPackageIndex(): Promise<PackageIndex> {
  const answers = new Map<string, { type: string; body: Buffer | string }>();
  const asked: string[] = [];
  const server = createServer({ cert: TEST_TLS.cert, key: TEST_TLS.key }, (request, response) => {
    const path = decodeURIComponent(request.url ?? '');
    asked.push(path);
    const answer = answers.get(path);
    response.writeHead(answer === undefined ? 404 : 200, { 'content-type': answer?.type ?? 'text/plain' });
    response.end(answer?.body ?? 'not here');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const host = `index.allowed.test:${port}`;
  const origin = `https://${host}`;
  return {
    ...{ origin, host, asked },
    addWheel(name, entries, version = '1.0.0') {
      const file = `${name.replaceAll('-', '_')}-${version}-py3-none-any.whl`;
      const body = makeWheel(name, version, entries);
      const sha256 = createHash('sha256').update(body).digest('hex');
      answers.set(`/files/${file}`, { type: 'application/zip', body });
      const link = `<a href="/files/${file}#sha256=${sha256}">${file}</a>`;
      answers.set(`/simple/${name}/`, {
        type: 'text/html',
        body: `<!DOCTYPE html><html><body>${link}</body></html>`,
      });
      return `${name}==${version} --hash=sha256:${sha256}`;
    },
    addSource(name, entries) {
      const file = `${name}-1.0.0.tar.gz`;
      const body = makeTarball(entries.map((entry) => ({ ...entry, path: `${name}-1.0.0/${entry.path}` })));
      const sha256 = createHash('sha256').update(body).digest('hex');
      answers.set(`/files/${file}`, { type: 'application/gzip', body });
      const link = `<a href="/files/${file}#sha256=${sha256}">${file}</a>`;
      answers.set(`/simple/${name}/`, { type: 'text/html', body: `<!DOCTYPE html><body>${link}</body>` });
      return `${name}==1.0.0 --hash=sha256:${sha256}`;
    },
    answer: (path, type, body) => {
      answers.set(path, { type, body });
    },
    addTarball(name, entries, manifest = {}) {
      const packageJson = { name, version: '1.0.0', ...manifest };
      const body = makeTarball([
        { path: 'package/package.json', text: JSON.stringify(packageJson) },
        ...entries,
      ]);
      const integrity = `sha512-${createHash('sha512').update(body).digest('base64')}`;
      const resolved = `${origin}/npm/${name}/-/${name}-1.0.0.tgz`;
      answers.set(new URL(resolved).pathname, { type: 'application/octet-stream', body });
      const dist = { tarball: resolved, integrity };
      const packument = {
        name,
        'dist-tags': { latest: '1.0.0' },
        versions: { '1.0.0': { ...packageJson, dist } },
      };
      answers.set(`/npm/${name}`, { type: 'application/json', body: JSON.stringify(packument) });
      return { version: '1.0.0', resolved, integrity };
    },
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function makeWheel(name: string, version: string, entries: PackageEntry[]): Buffer {
  const folder = `${name.replaceAll('-', '_')}-${version}.dist-info`;
  const metadata: PackageEntry[] = [
    { path: `${folder}/METADATA`, text: `Metadata-Version: 2.1\nName: ${name}\nVersion: ${version}\n` },
    {
      path: `${folder}/WHEEL`,
      text: 'Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
    },
  ];
  const listed = [...metadata, ...entries];
  const record = [...listed.map(({ path }) => `${path},,`), `${folder}/RECORD,,`].join('\n');
  return runPython(ZIP, [...listed, { path: `${folder}/RECORD`, text: `${record}\n` }]);
}

function makeTarball(entries: PackageEntry[]): Buffer {
  return runPython(TAR, entries);
}

const ZIP = `
import io, json, sys, zipfile
out = io.BytesIO()
with zipfile.ZipFile(out, "w") as archive:
    for entry in json.load(sys.stdin):
        info = zipfile.ZipInfo(entry["path"])
        info.create_system = 3
        mode = 0o120777 if "linkTo" in entry else 0o100000 | entry.get("mode", 0o644)
        info.external_attr = mode << 16
        archive.writestr(info, entry.get("linkTo", entry.get("text", "")))
sys.stdout.buffer.write(out.getvalue())`;

const TAR = `
import gzip, io, json, sys, tarfile
out = io.BytesIO()
with tarfile.open(fileobj=out, mode="w") as archive:
    for entry in json.load(sys.stdin):
        info = tarfile.TarInfo(entry["path"])
        content = entry.get("text", "").encode()
        info.mode = entry.get("mode", 0o644)
        if "linkTo" in entry:
            info.type, info.linkname = tarfile.SYMTYPE, entry["linkTo"]
        else:
            info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
sys.stdout.buffer.write(gzip.compress(out.getvalue(), mtime=0))`;

/** Node has no archive formats of its own, and these must be able to hold what a tool would refuse to write. */
function runPython(program: string, entries: PackageEntry[]): Buffer {
  const options = { input: JSON.stringify(entries), maxBuffer: 1 << 28, timeout: 60_000 };
  return execFileSync('/usr/bin/python3', ['-I', '-c', program], options);
}
