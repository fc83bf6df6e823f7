/**
 * What is the least that would turn this decision? One permission or role more or less, or one argument left out: each
 * is tried on the engine, and only what does turn it is told. What surprises: that an argument left out would be a sound
 * call, nobody says; it is the one that the policy minds.
 */
import type { Decision, JsonObject, Principal } from "../model.ts";
import { permissionsOf } from "../operations.ts";

export type Turn = {
  readonly change: "permission" | "role" | "without_permission" | "without_role" | "without_argument";
  readonly name: string;
};
export type Turnable = {
  readonly principal: Principal;
  readonly arguments: JsonObject;
  /** Any of which might be what is missing. */
  readonly permissions: readonly string[];
  readonly roles: { readonly [role: string]: readonly string[] };
  readonly decide: (principal: Principal, args: JsonObject) => Decision;
};

const TRIES_MAX = 100;
const TOLD_MAX = 8;

export function turnsOf(subject: Turnable): readonly Turn[] {
  const { principal, decide } = subject;
  const { allow } = decide(principal, subject.arguments);
  const tried = (allow ? lesser(subject) : greater(subject)).slice(0, TRIES_MAX);
  return tried
    .filter(({ who = principal, args = subject.arguments }) => decide(who, args).allow !== allow)
    .slice(0, TOLD_MAX)
    .map(({ turn }) => turn);
}

type Try = { readonly turn: Turn; readonly who?: Principal; readonly args?: JsonObject };

function greater({ principal, permissions, roles, arguments: args }: Turnable): readonly Try[] {
  const held = new Set(principal.permissions);
  const wanted = permissions.filter((one) => !held.has(one));
  const others = Object.keys(roles).filter((role) => !principal.roles.includes(role));
  return [
    ...wanted.map((name): Try => ({ turn: { change: "permission", name }, who: withPermissions(principal, [name]) })),
    ...others.map((name): Try => {
      const more = withPermissions(principal, roles[name] ?? []);
      return { turn: { change: "role", name }, who: { ...more, roles: [...principal.roles, name] } };
    }),
    ...Object.keys(args).map((name): Try => {
      const { [name]: _left, ...rest } = args;
      return { turn: { change: "without_argument", name }, args: rest };
    }),
  ];
}

function lesser({ principal, roles }: Turnable): readonly Try[] {
  const { permissions } = principal;
  return [
    ...principal.roles.map((name): Try => {
      const left = principal.roles.filter((role) => role !== name);
      const may = new Set(permissionsOf(roles, left));
      const who = { ...principal, roles: left, permissions: permissions.filter((one) => may.has(one)) };
      return { turn: { change: "without_role", name }, who };
    }),
    ...permissions.map((name): Try => {
      const who = { ...principal, permissions: permissions.filter((one) => one !== name) };
      return { turn: { change: "without_permission", name }, who };
    }),
  ];
}

function withPermissions(principal: Principal, more: readonly string[]): Principal {
  return { ...principal, permissions: [...new Set([...principal.permissions, ...more])].toSorted() };
}
