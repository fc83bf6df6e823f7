/**
 * What servers said, whichever gateway asked. What surprises: a discovery is written over none but the one that its writer
 * has seen, so that two gateways that ask at once agree on which definition was seen first.
 */
import { isObject, parseOwnJson } from "../json.ts";
import type { Json, JsonObject } from "../model.ts";
import { scriptOn } from "../redis.ts";
import type { RedisClient } from "../redis.ts";
import type { Local, Peers, Store } from "./store.ts";

export type SharedDiscoveries = {
  /** Rejects with whatever keeps Redis from answering: what was not told is told by the next. */
  readonly sync: () => Promise<void>;
  readonly save: Store["saveDiscovery"];
};
/** What two gateways know together of one server version; twice the same is the same, to the byte. */
export type Agreed = (own: JsonObject, theirs: JsonObject) => JsonObject;
type Given = { readonly local: Local; readonly agreed: Agreed; readonly found: Peers["found"] };

const DISCOVERIES = "portcullis:{state}:discoveries";
/** Of writes: who has read all up to it need not read again. */
const COUNTER = "portcullis:{state}:discovered";

export function sharedDiscoveries(client: RedisClient, { local, agreed, found }: Given): SharedDiscoveries {
  const write = scriptOn<string>(client, "portcullisFound", WRITE);
  const own = new Map(local.discoveries());
  /** As Redis has them. */
  const theirs = new Map<string, string>();
  const untold = new Set(own.keys());
  let seen: string | null = null;
  const save: SharedDiscoveries["save"] = (id, discovered) => {
    local.saveDiscovery(id, discovered);
    own.set(id, discovered as JsonObject);
    untold.add(id);
  };
  const take = (id: string, text: string): void => {
    theirs.set(id, text);
    const said = discoveredIn(text);
    // whoever has a better word writes it there
    if (said === null) return void (own.has(id) && untold.add(id));
    const before = own.get(id);
    const both = before === undefined ? said : agreed(before, said);
    if (JSON.stringify(both) === text) untold.delete(id);
    else untold.add(id);
    if (JSON.stringify(both) === JSON.stringify(before)) return;
    local.saveDiscovery(id, both);
    own.set(id, both);
    found(id, both);
  };
  return {
    save,
    sync: async () => {
      const counted = await client.get(COUNTER);
      if (counted !== seen) {
        const all = await client.hgetall(DISCOVERIES);
        // a Redis that forgot them is told again
        for (const id of own.keys()) if (!Object.hasOwn(all, id)) untold.add(id);
        for (const id of [...theirs.keys()]) if (!Object.hasOwn(all, id)) theirs.delete(id);
        for (const [id, text] of Object.entries(all)) if (theirs.get(id) !== text) take(id, text);
        seen = counted;
      }
      for (const id of untold) {
        const text = JSON.stringify(own.get(id));
        const other = await write([DISCOVERIES, COUNTER], [id, theirs.get(id) ?? "", text]);
        if (other === "") {
          theirs.set(id, text);
          // what was found while Redis answered is told by the next round
          if (JSON.stringify(own.get(id)) === text) untold.delete(id);
        } else take(id, other);
      }
    },
  };
}

/** Null for what is no discovery: kept here, it would end every start. */
function discoveredIn(text: string): JsonObject | null {
  try {
    const said = parseOwnJson(text);
    if (!isObject(said) || typeof said["at"] !== "string" || !isObject(said["discovery"])) return null;
    const { tools } = said["discovery"];
    const named =
      Array.isArray(tools) && tools.every((tool: Json) => isObject(tool) && typeof tool["name"] === "string");
    return named && isObject(said["firstSeen"]) ? said : null;
  } catch {
    return null;
  }
}

/** Of whom, what its writer has seen, what it writes. Returns what stands there instead, or nothing. */
const WRITE = `
local there = redis.call('hget', KEYS[1], ARGV[1]) or ''
if there ~= ARGV[2] then return there end
redis.call('hset', KEYS[1], ARGV[1], ARGV[3])
redis.call('incr', KEYS[2])
return ''
`;
