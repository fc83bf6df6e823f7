/**
 * Instances come, go and rest: one that registers itself, top to bottom: authenticate → authorize → validate → record →
 * take; and one that takes no new call. What surprises: a heartbeat is the same request again, and only the first of them
 * is recorded, with its end, whether it says so itself or is not heard any more.
 */
import { audited, record } from "./audit/record.ts";
import { changedOnTerms, entryChange } from "./change.ts";
import type { Changed, Terms } from "./change.ts";
import { allowsOrigin } from "./config-instance.ts";
import type { Registration } from "./config-instance.ts";
import type { ServerConfig } from "./config.ts";
import type { Gateway } from "./gateway.ts";
import { authenticate } from "./identity/authenticate.ts";
import type { Asked, Call, Outcome, Target } from "./model.ts";
import type { OperationName } from "./operations.ts";
import { authorizeOperation } from "./policy/authorize.ts";
import { Refusal } from "./refusal.ts";
import { instanceIdOf } from "./registry/catalogue.ts";
import { registeredId } from "./registry/effect.ts";
import { instanceNamed, noInstance, notDrained, versionNamed } from "./registry/named.ts";

export type InstanceWish = Pick<Registration, "server" | "version" | "instance">;
export type RegistrationWish = InstanceWish & Pick<Registration, "url" | "weight">;
/** `ttlMs`: it is forgotten then, unless it is heard again; a third of it is a good time for that. */
export type Registered = { readonly id: string; readonly ttlMs: number };

/** Of one server version; a pod that restarts in a circle must not fill anything. */
const REGISTERED_MAX = 256;

export function registerInstance(gateway: Gateway, asked: Asked, wish: RegistrationWish): Promise<Outcome<Registered>> {
  const { registrations } = gateway.control;
  return taken(gateway, asked, { operation: "instances/register", wish }, async (call) => {
    const { one, declared } = allowed(gateway, wish);
    const before = knownAs(gateway, wish);
    if (before?.url !== one.url || before.weight !== one.weight) await recordMove(gateway, call, before, one);
    await registrations.put(one);
    return { id: registeredId(declared, one), ttlMs: one.ttlMs };
  });
}

export function deregisterInstance(gateway: Gateway, asked: Asked, wish: InstanceWish): Promise<Outcome<null>> {
  return taken(gateway, asked, { operation: "instances/deregister", wish }, async (call) => {
    const before = knownAs(gateway, wish);
    if (before === undefined) throw new Refusal("invalid_request", "No instance of this name has registered.");
    await recordMove(gateway, call, before, null);
    await gateway.control.registrations.remove(before);
    return null;
  });
}

/** It was not heard any more, and is out already: nobody asked for that, so the record names nobody. */
export async function recordEnd(gateway: Gateway, one: Registration): Promise<void> {
  await audited(gateway, NOBODY, "instances/deregister", async (call) => {
    call.target = targetOf(one);
    await recordMove(gateway, call, one, null);
  });
}

const NOBODY: Asked = {
  interface: "trpc",
  protocol: "",
  path: "",
  ip: "",
  credential: { kind: "none" },
  traceparent: null,
  tracestate: null,
  signal: new AbortController().signal,
};

export type DrainWish = { readonly server: string; readonly version: string | null; readonly instance: string };

/** No new call; those under way end as they do. Kept by its name: whoever comes back under it is drained still. */
export function drainInstance(
  gateway: Gateway,
  asked: Asked,
  wish: DrainWish,
  terms: Terms,
): Promise<Outcome<Changed>> {
  return changedOnTerms(gateway, asked, { operation: "drains/put", ...terms }, () => {
    const ids = versionNamed(gateway.snapshot(), wish).instances.map(({ id }) => id);
    const name = instanceNamed(ids, wish.instance);
    if (name === undefined) throw noInstance(ids, wish.instance);
    return entryChange(gateway, { section: "drains", name, value: true });
  });
}

/** Also of one that is not there now. */
export function undrainInstance(
  gateway: Gateway,
  asked: Asked,
  wish: DrainWish,
  terms: Terms,
): Promise<Outcome<Changed>> {
  return changedOnTerms(gateway, asked, { operation: "drains/remove", ...terms }, () => {
    const snapshot = gateway.snapshot();
    const version = wish.version ?? snapshot.servers.get(wish.server)?.defaultVersion ?? "";
    const prefix = instanceIdOf({ name: wish.server, version }, "");
    const drained = [...gateway.control.changes().entries.drains.keys()].filter((id) => id.startsWith(prefix));
    const name = instanceNamed(drained, wish.instance);
    if (name !== undefined) return entryChange(gateway, { section: "drains", name, value: null });
    const ids = versionNamed(snapshot, wish).instances.map(({ id }) => id);
    const known = instanceNamed(ids, wish.instance);
    throw known === undefined ? noInstance(ids, wish.instance) : notDrained(drained, known);
  });
}

type Taking = { readonly operation: OperationName; readonly wish: InstanceWish };

function taken<Value>(
  gateway: Gateway,
  asked: Asked,
  { operation, wish }: Taking,
  take: (call: Call) => Promise<Value>,
): Promise<Outcome<Value>> {
  return audited(gateway, asked, operation, async (call) => {
    call.principal = await authenticate(gateway.identity, call);
    call.stage = "authorize";
    authorizeOperation(call, targetOf(wish));
    call.stage = "validate";
    if (gateway.control.feed === null)
      throw new Refusal("invalid_request", "This is a sidecar: instances register at its control plane.");
    const value = await take(call);
    call.executed = "yes";
    return value;
  });
}

function targetOf({ server, version }: Pick<Registration, "server" | "version">): Target {
  return { kind: "server", name: `${server}@${version}` };
}

function knownAs({ control }: Gateway, { server, version, instance }: InstanceWish): Registration | undefined {
  return control.registrations
    .all()
    .find((one) => one.server === server && one.version === version && one.instance === instance);
}

/** As the file allows it. @throws Refusal invalid_request */
function allowed(
  gateway: Gateway,
  { url, ...wish }: RegistrationWish,
): { readonly one: Registration; readonly declared: ServerConfig } {
  const { config, registrations } = gateway.control;
  const declared = config().servers.find((one) => one.name === wish.server && one.version === wish.version);
  if (declared?.register === undefined)
    throw new Refusal("invalid_request", "The configuration file lets no instance of such a server version register.");
  if (!allowsOrigin(declared.register, url)) {
    const errors = [{ pointer: "/url", message: "expected an origin that `register` of this server version names" }];
    throw new Refusal("invalid_request", "No instance may register at this origin.", { errors });
  }
  const others = registrations.all().filter((one) => one.server === wish.server && one.version === wish.version);
  if (knownAs(gateway, wish) === undefined && others.length >= REGISTERED_MAX)
    throw new Refusal("invalid_request", "Too many instances of this server version have registered.");
  const { origin, pathname } = new URL(url);
  return { one: { ...wish, url: origin + pathname, ttlMs: declared.register.ttl }, declared };
}

async function recordMove(
  { audit }: Gateway,
  call: Call,
  before: Registration | undefined,
  after: Registration | null,
): Promise<void> {
  call.change = { before: before ?? null, after };
  call.stage = "record";
  await record(audit, call);
}
