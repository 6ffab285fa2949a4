// Opens an exported folder in Transformers.js and compares with what our tool said: check.mjs FOLDER_OF_MODELS MODEL RESULTS
import fs from 'node:fs';
import path from 'node:path';
import {
    AutoProcessor, AutoTokenizer, CLIPTextModelWithProjection, CLIPVisionModelWithProjection, RawImage, env, pipeline,
} from '@huggingface/transformers';

const MAX_DIFFERENCE = 1e-3;  // fp32: two versions of ONNX Runtime, two implementations of preprocessing
const MIN_COSINE = 0.99;      // q8 against fp32

const [models, model, results] = process.argv.slice(2);
env.allowRemoteModels = false;
env.useFSCache = false;
env.localModelPath = models;

const lines = name => fs.readFileSync(path.join(results, name), 'utf8').trim().split('\n').map(line => JSON.parse(line));
const tokens = lines('tokens.json'), embeddings = lines('embeddings.json'), classes = lines('classes.json');
const texts = embeddings.filter(row => row.modality === 'text'), pictures = embeddings.filter(row => row.modality === 'image');

let failed = 0;
function check(what, passed, detail) {
    console.log(`${passed ? 'PASS' : 'FAIL'}  ${what}: ${detail}`);
    if (!passed) failed++;
}

const unit = row => { const length = Math.hypot(...row); return row.map(value => value / length); };
const cosine = (a, b) => unit(a).reduce((sum, value, i) => sum + value * unit(b)[i], 0);
const furthest = (a, b) => Math.max(...a.map((value, i) => Math.abs(value - b[i])));

function compare(what, dtype, expected, found) {
    if (expected.length === 0 || found.length !== expected.length || found.some((row, i) => row.length !== expected[i].length))
        throw new Error(`${what}: ${found.length} embeddings, expected ${expected.length} of the same width`);
    if (dtype === 'fp32') {
        const difference = Math.max(...expected.map((row, i) => furthest(row, unit(found[i]))));
        check(`${what}, ${dtype}`, difference <= MAX_DIFFERENCE,
            `largest difference ${difference.toExponential(1)} of ${found.length}`);
    } else {
        const least = Math.min(...expected.map((row, i) => cosine(row, found[i])));
        check(`${what}, ${dtype}`, least >= MIN_COSINE, `least cosine with fp32 ${least.toFixed(5)} of ${found.length}`);
    }
}

// A text that is too long keeps its end token, as in Python; Transformers.js cuts the end token off, and CLIP pools there.
function encode(text) {
    const ids = tokenizer.encode(text), most = tokenizer.model_max_length;
    return ids.length <= most ? ids : [...ids.slice(0, most - 1), ids.at(-1)];
}

const tokenizer = await AutoTokenizer.from_pretrained(model);
const wrong = tokens.map(row => ({ ...row, found: encode(row.text) })).filter(row => String(row.found) !== String(row.input_ids));
check('token ids', tokens.length > 0 && wrong.length === 0, `${tokens.length - wrong.length} of ${tokens.length} texts`
    + wrong.map(row => `; '${row.text}' ${row.found}, expected ${row.input_ids}`).join(''));

const processor = await AutoProcessor.from_pretrained(model);
const images = await Promise.all(pictures.map(row => RawImage.read(row.input)));
for (const dtype of ['fp32', 'q8']) {
    const textModel = await CLIPTextModelWithProjection.from_pretrained(model, { dtype });
    const { text_embeds } = await textModel(tokenizer(texts.map(row => row.input), { padding: true, truncation: true }));
    compare('texts', dtype, texts.map(row => row.embedding), text_embeds.tolist());

    const visionModel = await CLIPVisionModelWithProjection.from_pretrained(model, { dtype });
    const { image_embeds } = await visionModel(await processor(images));
    compare('pictures', dtype, pictures.map(row => row.embedding), image_embeds.tolist());
}

const classify = await pipeline('zero-shot-image-classification', model, { dtype: 'fp32' });
const labels = Object.keys(classes[0].scores);
let difference = 0;
for (const row of classes) {
    const scores = await classify(row.input, labels, { hypothesis_template: 'a photo of a {}.' });
    if (scores.length !== labels.length) throw new Error(`${scores.length} scores, expected ${labels.length}`);
    for (const { label, score } of scores) difference = Math.max(difference, Math.abs(score - row.scores[label]));
}
check('zero-shot-image-classification', difference <= MAX_DIFFERENCE,
    `largest difference ${difference.toExponential(1)} of ${classes.length} pictures and ${labels.length} classes`);
process.exitCode = failed === 0 ? 0 : 1;
