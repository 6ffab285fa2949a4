// The other side of the benchmarks in Node: a JSON object per line in, one out. Runs beside the packages of tests/interop.
import fs from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';
import {
    AutoProcessor, AutoTokenizer, CLIPTextModelWithProjection, CLIPVisionModelWithProjection, RawImage, env,
} from '@huggingface/transformers';
import { Tokenizer } from '@huggingface/tokenizers';

env.allowRemoteModels = false;
env.useFSCache = false;

const packages = path.join(path.dirname(new URL(import.meta.url).pathname), 'node_modules');
const version = name => JSON.parse(fs.readFileSync(path.join(packages, name, 'package.json'), 'utf8')).version;
const say = answer => process.stdout.write(JSON.stringify(answer) + '\n');
const chunks = (items, size) =>
    Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size));

let tokenizer, plainTokenizer, processor, textModel, visionModel;

async function timed(request, items, embed) {
    const rows = [], start = performance.now();
    for (const batch of chunks(items, request.batch)) {
        const embeds = await embed(batch);
        if (!request.silent) rows.push(...embeds.tolist());
    }
    return { seconds: (performance.now() - start) / 1000, embeds: rows };
}

const ops = {
    async load({ model, threads, images }) {
        env.localModelPath = path.dirname(model);
        const name = path.basename(model), options = { dtype: 'fp32', session_options: { intraOpNumThreads: threads } };
        const read = file => JSON.parse(fs.readFileSync(path.join(model, file), 'utf8'));
        tokenizer = await AutoTokenizer.from_pretrained(name);
        plainTokenizer = new Tokenizer(read('tokenizer.json'), read('tokenizer_config.json'));
        textModel = await CLIPTextModelWithProjection.from_pretrained(name, options);
        if (images) {
            processor = await AutoProcessor.from_pretrained(name);
            visionModel = await CLIPVisionModelWithProjection.from_pretrained(name, options);
        }
        return {};
    },
    images: request => timed(request, request.paths, async paths => {
        const { image_embeds } = await visionModel(await processor(await Promise.all(paths.map(file => RawImage.read(file)))));
        return image_embeds;
    }),
    texts: request => timed(request, request.texts, async texts => {
        const { text_embeds } = await textModel(tokenizer(texts, { padding: true, truncation: true }));
        return text_embeds;
    }),
    tokens: ({ texts }) => ({ ids: texts.map(text => tokenizer.encode(text)) }),
    plainTokens: ({ texts }) => ({ ids: texts.map(text => plainTokenizer.encode(text).ids) }),
    tokenize({ texts }) {
        const start = performance.now();
        let tokens = 0;
        for (const text of texts) tokens += plainTokenizer.encode(text).ids.length;
        return { seconds: (performance.now() - start) / 1000, tokens };
    },
};

say({ versions: {
    'Node': process.version, '@huggingface/transformers': version('@huggingface/transformers'),
    '@huggingface/tokenizers': version('@huggingface/tokenizers'), 'onnxruntime-node': version('onnxruntime-node'),
} });
for await (const line of readline.createInterface({ input: process.stdin })) {
    try {
        const request = JSON.parse(line);
        say(await ops[request.op](request));
    } catch (error) {
        say({ error: String(error?.stack ?? error) });
    }
}
