/**
 * What has been changed by administrators? Every change, and the pure fold that makes the state of a list of them.
 * Changes hold no secret: a key travels as its hash.
 */
import type { Key } from "../model.ts";

export type Change =
  | { readonly type: "key.issue"; readonly key: Key }
  | { readonly type: "key.revoke"; readonly id: string; readonly at: string }
  | { readonly type: "key.rotate"; readonly key: Key; readonly revoked: string; readonly at: string }
  | {
      readonly type: "tool.approve";
      readonly server: string;
      readonly version: string;
      readonly tool: string;
      readonly digest: string;
    };

export type ChangeState = {
  /** Issued keys, revoked ones included, by id. */
  readonly keys: ReadonlyMap<string, Key>;
  /** Accepted digest by `server@version/tool`. */
  readonly approved: ReadonlyMap<string, string>;
};

export const NO_CHANGES: ChangeState = { keys: new Map(), approved: new Map() };

export function apply(state: ChangeState, change: Change): ChangeState {
  switch (change.type) {
    case "key.issue":
      return { ...state, keys: new Map(state.keys).set(change.key.id, change.key) };
    case "key.revoke":
      return { ...state, keys: revoke(state.keys, change.id, change.at) };
    case "key.rotate":
      return { ...state, keys: new Map(revoke(state.keys, change.revoked, change.at)).set(change.key.id, change.key) };
    case "tool.approve":
      return {
        ...state,
        approved: new Map(state.approved).set(`${change.server}@${change.version}/${change.tool}`, change.digest),
      };
  }
}

function revoke(keys: ChangeState["keys"], id: string, at: string): ChangeState["keys"] {
  const key = keys.get(id);
  return key === undefined ? keys : new Map(keys).set(id, { ...key, revokedAt: at });
}
