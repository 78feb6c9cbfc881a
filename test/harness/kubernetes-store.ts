import type { ServerResponse } from 'node:http';

/** An object of the API; what is in `spec` and `status` is its kind's. */
export type ApiObject = {
  kind: string;
  apiVersion: string;
  metadata: {
    name: string;
    labels?: Record<string, string>;
    resourceVersion?: string;
    deletionTimestamp?: string;
    deletionGracePeriodSeconds?: number;
  };
  spec?: unknown;
  status?: unknown;
};

type Event = { plural: string; type: 'ADDED' | 'MODIFIED' | 'DELETED'; object: ApiObject; version: number };
type Watcher = { plural: string; selector: string; answer: ServerResponse };

/** Objects, each change with a version of its own, and who watches them. */
export type Store = ReturnType<typeof createStore>;

export function createStore() {
  const objects = new Map<string, ApiObject>();
  const watchers = new Set<Watcher>();
  let events: Event[] = [];
  let version = 1000;
  let oldest = 0;
  const keyOf = (plural: string, name: string) => `${plural}/${name}`;
  const tell = (event: Event) => {
    events.push(event);
    for (const watcher of watchers) send(watcher, event);
  };
  return {
    version: () => `${version}`,
    read: (plural: string, name: string) => objects.get(keyOf(plural, name)),
    list(plural: string, selector = ''): ApiObject[] {
      const found = [...objects].filter(([key]) => key.startsWith(`${plural}/`)).map(([, object]) => object);
      return found.filter((object) => matches(object, selector));
    },
    write(plural: string, given: ApiObject): ApiObject {
      const key = keyOf(plural, given.metadata.name);
      const type = objects.has(key) ? 'MODIFIED' : 'ADDED';
      version += 1;
      const object = { ...given, metadata: { ...given.metadata, resourceVersion: `${version}` } };
      objects.set(key, object);
      tell({ plural, type, object, version });
      return object;
    },
    remove(plural: string, name: string): void {
      const object = objects.get(keyOf(plural, name));
      if (object === undefined) return;
      objects.delete(keyOf(plural, name));
      version += 1;
      const last = { ...object, metadata: { ...object.metadata, resourceVersion: `${version}` } };
      tell({ plural, type: 'DELETED', object: last, version });
    },
    watch(input: { plural: string; selector: string; query: URLSearchParams }, answer: ServerResponse): void {
      const since = Number(input.query.get('resourceVersion') ?? '0');
      answer.writeHead(200, { 'content-type': 'application/json;stream=watch' });
      if (since < oldest) {
        const status = { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason: 'Expired', code: 410 };
        answer.end(`${JSON.stringify({ type: 'ERROR', object: status })}\n`);
        return;
      }
      const watcher = { plural: input.plural, selector: input.selector, answer };
      for (const event of events) if (event.version > since) send(watcher, event);
      if (input.query.get('allowWatchBookmarks') === 'true') {
        const object = { kind: 'Pod', apiVersion: 'v1', metadata: { resourceVersion: `${version}` } };
        answer.write(`${JSON.stringify({ type: 'BOOKMARK', object })}\n`);
      }
      watchers.add(watcher);
      const timer = setTimeout(() => answer.end(), Number(input.query.get('timeoutSeconds') ?? '300') * 1000);
      answer
        .on('error', () => {})
        .once('close', () => {
          clearTimeout(timer);
          watchers.delete(watcher);
        });
    },
    cutWatches(): void {
      for (const { answer } of watchers) answer.destroy();
    },
    /** As etcd's compaction: who wants to go on from before has to list again. */
    forget(): void {
      events = [];
      oldest = version + 1;
      version += 1;
    },
  };
}

function send({ plural, selector, answer }: Watcher, { plural: changed, type, object }: Event): void {
  if (plural !== changed || !matches(object, selector)) return;
  answer.write(`${JSON.stringify({ type, object })}\n`);
}

/** Equality and existence, the two kinds of requirement that are used. */
function matches({ metadata }: ApiObject, selector: string): boolean {
  return selector
    .split(',')
    .filter(Boolean)
    .every((requirement) => {
      const [key = '', value] = requirement.split('=');
      const label = metadata.labels?.[key];
      return value === undefined ? label !== undefined : label === value;
    });
}
