/**
 * One Redis, or a Redis Cluster? What surprises: the URL says so, since a plain client meets a cluster's node like any Redis,
 * counts there where it happens to be the one that has the keys, and stops when they move.
 */

/** `redis+cluster://` and `rediss+cluster://`: of any node, from which the others are found. */
export const REDIS_URL = /^rediss?(\+cluster)?:\/\//;

export function isCluster(url: string): boolean {
  return /^rediss?\+cluster:/.test(url);
}

/** For people: that a plain URL leads to a cluster; null where something else is wrong. */
export function clusterFault(cause: unknown): string | null {
  return cause instanceof Error && /^(MOVED|ASK) \d/.test(cause.message) ? IS_CLUSTER : null;
}

const IS_CLUSTER = "it is a Redis Cluster: its URL must begin with redis+cluster:// (or rediss+cluster://)";
