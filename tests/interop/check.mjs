// Opens an exported CLIP in Transformers.js and compares with what our tool said: check.mjs FOLDER_OF_MODELS MODEL RESULTS
import path from 'node:path';
import {
    AutoProcessor, AutoTokenizer, CLIPTextModelWithProjection, CLIPVisionModelWithProjection, RawImage, pipeline,
} from '@huggingface/transformers';
import { check, close, compare, exitCode, lines, openOnly, sameTokens } from './compare.mjs';

const MAX_SCORE_DIFFERENCE = 0.05; // q8: the scale of the logits multiplies what 8 bits lose

const [models, model, results] = process.argv.slice(2);
openOnly(models);
const tokens = lines(path.join(results, 'tokens.json')), embeddings = lines(path.join(results, 'embeddings.json'));
const classes = lines(path.join(results, 'classes.json'));
const texts = embeddings.filter(row => row.modality === 'text'), pictures = embeddings.filter(row => row.modality === 'image');

// A text that is too long keeps its end token, as in Python; Transformers.js cuts the end token off, and CLIP pools there.
function encode(text) {
    const ids = tokenizer.encode(text), most = tokenizer.model_max_length;
    return ids.length <= most ? ids : [...ids.slice(0, most - 1), ids.at(-1)];
}

const tokenizer = await AutoTokenizer.from_pretrained(model);
sameTokens('token ids', tokens, encode);

const processor = await AutoProcessor.from_pretrained(model);
const images = await Promise.all(pictures.map(row => RawImage.read(row.input)));
const labels = Object.keys(classes[0].scores);
for (const dtype of ['fp32', 'q8']) {
    const textModel = await CLIPTextModelWithProjection.from_pretrained(model, { dtype });
    const { text_embeds } = await textModel(tokenizer(texts.map(row => row.input), { padding: true, truncation: true }));
    compare('texts', dtype, texts.map(row => row.embedding), text_embeds.tolist());

    const visionModel = await CLIPVisionModelWithProjection.from_pretrained(model, { dtype });
    const { image_embeds } = await visionModel(await processor(images));
    compare('pictures', dtype, pictures.map(row => row.embedding), image_embeds.tolist());

    const classify = await pipeline('zero-shot-image-classification', model, { dtype });
    const name = `zero-shot-image-classification, ${dtype}`, of = `of ${classes.length} pictures and ${labels.length} classes`;
    let difference = 0, same = 0;
    for (const row of classes) {
        const scores = await classify(row.input, labels, { hypothesis_template: 'a photo of a {}.' });
        if (scores.length !== labels.length) throw new Error(`${scores.length} scores, expected ${labels.length}`);
        for (const { label, score } of scores) difference = Math.max(difference, Math.abs(score - row.scores[label]));
        if (scores[0].label === row.label) same++;
    }
    if (dtype === 'fp32') close(name, difference, of);
    else check(name, same === classes.length && difference <= MAX_SCORE_DIFFERENCE,
        `${same} of ${classes.length} labels as with fp32, largest difference ${difference.toExponential(1)}`);
}
process.exitCode = exitCode();
