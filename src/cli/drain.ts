/**
 * `servers drain · undrain`: an instance takes no new call, or does again. What surprises: it is not waited for; `servers
 * show` says how many calls are still under way there.
 */
import { tellChange } from "./changed.ts";
import { ask } from "./client.ts";
import type { Invocation } from "./io.ts";

export async function drain(invocation: Invocation): Promise<number> {
  const wish = wishOf(invocation);
  return tellChange(invocation, await ask(invocation, (client) => client.servers.drain.mutate(wish)));
}

export async function undrain(invocation: Invocation): Promise<number> {
  const wish = wishOf(invocation);
  return tellChange(invocation, await ask(invocation, (client) => client.servers.undrain.mutate(wish)));
}

function wishOf({ operands, flags }: Invocation) {
  const [which = "", instance = ""] = operands;
  const at = which.indexOf("@");
  const server = at === -1 ? which : which.slice(0, at);
  const version = at === -1 ? null : which.slice(at + 1);
  return { server, version, instance, dryRun: flags["dry-run"] === true };
}
