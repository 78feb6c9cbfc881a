import { Problem } from '../core/problem.ts';

/** Bounds what publications under way hold in memory, together and of one publisher. */
export type Uploads = {
  /** `publish` takes what it reads, before it keeps it; all of it is given back when `publish` has ended. */
  run<T>(publisher: string, publish: (take: TakeBytes) => Promise<T>): Promise<T>;
};

/** Throws a `Problem` when these bytes would be too many. */
export type TakeBytes = (bytes: number) => void;

export type UploadBounds = { bytesMax: number; publisherBytesMax: number; publisherCountMax: number };

const MIB = 1024 * 1024;
const BOUNDS: UploadBounds = {
  bytesMax: 256 * MIB,
  publisherBytesMax: 64 * MIB,
  publisherCountMax: 16,
};
const RETRY_AFTER_SECONDS = 5;

/** A body is held until its version is published, which may take a build of minutes. */
export function createUploads(bounds: UploadBounds = BOUNDS): Uploads {
  const publishers = new Map<string, { count: number; bytes: number }>();
  let bytesHeld = 0;
  return {
    async run(publisher, publish) {
      const own = publishers.get(publisher) ?? { count: 0, bytes: 0 };
      if (own.count >= bounds.publisherCountMax) throw tooMany('publications at once');
      publishers.set(publisher, own);
      own.count += 1;
      let taken = 0;
      try {
        return await publish((bytes) => {
          if (own.bytes + bytes > bounds.publisherBytesMax) throw tooMany('uploads at once');
          if (bytesHeld + bytes > bounds.bytesMax) throw full();
          taken += bytes;
          own.bytes += bytes;
          bytesHeld += bytes;
        });
      } finally {
        bytesHeld -= taken;
        own.bytes -= taken;
        own.count -= 1;
        if (own.count === 0) publishers.delete(publisher);
      }
    },
  };
}

function tooMany(what: string): Problem {
  return new Problem('too-many-requests', {
    detail: `You have too many ${what} under way; send this again when one of them has ended.`,
    retryAfterSeconds: RETRY_AFTER_SECONDS,
    isUncharged: true,
  });
}

function full(): Problem {
  return new Problem('unavailable', {
    detail: 'Too much is being uploaded right now.',
    retryAfterSeconds: RETRY_AFTER_SECONDS,
    isUncharged: true,
  });
}
