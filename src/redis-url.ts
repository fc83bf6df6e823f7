/**
 * One Redis, or a Redis Cluster? What surprises: the URL says so, since a plain client meets a cluster's node like any Redis,
 * counts there where it happens to be the one that has the keys, and stops when they move.
 */

/** `redis+cluster://` and `rediss+cluster://`: of one node or several, separated by commas, from any of which the others are found. */
export const REDIS_URL = /^rediss?(\+cluster)?:\/\//;

export function isCluster(url: string): boolean {
  return /^rediss?\+cluster:/.test(url);
}

/** One URL for each node that it names, with the user and the password of all. */
export function nodesOf(url: string): readonly string[] {
  const { scheme, user, nodes, rest } = partsOf(url);
  return nodes.map((node) => scheme + user + node + rest);
}

/** What is expected of it and not so, without any of its words, which may be secret; null where all is well. */
export function redisUrlFault(url: string): string | null {
  const { user, nodes, rest } = partsOf(url);
  if (!isCluster(url)) {
    if (nodes.length > 1) return "several nodes only after redis+cluster://";
    return URL.canParse(url) && isEncoded(user) ? null : PLAIN;
  }
  if (/[,@]/.test(user.slice(0, -1)))
    return "user and password once, before the first node, in them %2C for a comma and %40 for an @";
  const wrong = nodes.findIndex((node) => !isAddress(node));
  if (wrong !== -1) return `host:port,host:port after redis+cluster://, and node ${wrong + 1} is not that`;
  if (!isEncoded(user)) return "user and password percent-encoded, in them %25 for a %";
  return /^\/?0?$/.test(rest) ? null : "no database but 0 and no options of a cluster";
}

const PLAIN = "host:port after redis://, and before that user and password percent-encoded, in them %25 for a %";

function partsOf(url: string) {
  const [, scheme = "", user = "", nodes = "", rest = ""] = PARTS.exec(url) ?? [];
  return { scheme, user, nodes: nodes.split(","), rest };
}

function isAddress(node: string): boolean {
  return URL.canParse(`redis://${node}`) && new URL(`redis://${node}`).hostname !== "" && !node.endsWith(":");
}

function isEncoded(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

const PARTS = /^([a-z+]+:\/\/)((?:[^/?#]*@)?)([^/?#]*)(.*)$/s;

/** For people: that a plain URL leads to a cluster; null where something else is wrong. */
export function clusterFault(cause: unknown): string | null {
  return cause instanceof Error && /^(MOVED|ASK) \d/.test(cause.message) ? IS_CLUSTER : null;
}

const IS_CLUSTER = "it is a Redis Cluster: its URL must begin with redis+cluster:// (or rediss+cluster://)";
