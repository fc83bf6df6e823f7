/** What threads of ours are given of the environment: nothing but the place where compiled code is kept. */
import { getCompileCacheDir } from "node:module";
import { dirname } from "node:path";

/** Without it a thread strips the types of all that it loads, each time that it starts: for that alone it takes 25 MB. */
export function threadEnv(): { readonly [name: string]: string } {
  const folder = getCompileCacheDir();
  // Node names the folder below for its version
  return folder === undefined ? {} : { NODE_COMPILE_CACHE: dirname(folder) };
}
