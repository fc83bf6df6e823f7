/**
 * Writes what is generated of the contract: the JSON Schema of the configuration file. `npm run generate` writes; a
 * test compares what is committed with what `generated()` gives, so that a change of the surface shows in review.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { configSchema } from "../src/config.ts";

/** Text by file name in this folder. */
export function generated(): { readonly [file: string]: string } {
  return { "config.schema.json": `${JSON.stringify(configJsonSchema(), null, 2)}\n` };
}

/** Of what is written in the file, before defaults; `${…}` may stand in any string, so formats are not promised. */
function configJsonSchema(): object {
  const { $schema, ...schema } = z.toJSONSchema(configSchema, {
    io: "input",
    override: ({ jsonSchema }) => {
      if (jsonSchema.type !== "string" || jsonSchema.enum !== undefined || jsonSchema.const !== undefined) return;
      const { pattern, format } = jsonSchema;
      if (pattern === undefined && format === undefined) return;
      delete jsonSchema.pattern;
      delete jsonSchema.format;
      // an editor must not underline ${FILES_URL} where a URL is expected
      Object.assign(jsonSchema, {
        anyOf: [pattern === undefined ? { format } : { pattern }, { pattern: String.raw`\$\{` }],
      });
    },
  });
  return { $schema, title: "Portcullis configuration", ...schema };
}

if (import.meta.main) {
  await Promise.all(
    Object.entries(generated()).map(([file, text]) => writeFile(join(import.meta.dirname, file), text)),
  );
}
