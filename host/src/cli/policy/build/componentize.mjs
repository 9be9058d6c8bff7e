// The library and not its command line, which takes other paths than ours for those of its own folder.
import { componentize } from "@bytecodealliance/componentize-js";
import { writeFile } from "node:fs/promises";

const [sourcePath, witPath, worldName, out] = process.argv.slice(1);
// What a policy has no use for is left out: each feature is an import, and a stream that is open would keep it from being frozen.
const { component } = await componentize({ sourcePath, witPath, worldName, disableFeatures: ["http", "fetch-event", "stdio"] });
await writeFile(out, component);
