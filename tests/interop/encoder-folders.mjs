// Writes folders of small encoders with random weights, as published ones look: encoder-folders.mjs FOLDER
// text: BERT with the modules of sentence-transformers. image: ViT.
import fs from 'node:fs';
import path from 'node:path';

const [target] = process.argv.slice(2);
const WIDTH = 48, MLP = 96, LAYERS = 2, HEADS = 4, IMAGE = 32, PATCH = 8, CONTEXT = 32;

let state = 1;
function uniform() { // mulberry32
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
}

/** Name and shape of each weight; norms are near 1, the rest is near 0. */
function safetensors(shapes) {
    const header = {}, parts = [];
    let offset = 0;
    for (const [name, shape] of Object.entries(shapes)) {
        const norm = /norm\w*\.weight$/i.test(name), count = shape.reduce((a, b) => a * b, 1), reach = norm ? 0.2 : 0.25;
        const values = Float32Array.from({ length: count }, () => (norm ? 1 : 0) + (2 * uniform() - 1) * reach);
        header[name] = { dtype: 'F32', shape, data_offsets: [offset, offset += 4 * count] };
        parts.push(Buffer.from(values.buffer));
    }
    const json = Buffer.from(JSON.stringify(header)), size = Buffer.alloc(8);
    size.writeBigUInt64LE(BigInt(json.length));
    return Buffer.concat([size, json, ...parts]);
}

function write(folder, files) {
    for (const [name, content] of Object.entries(files)) {
        const file = path.join(target, folder, name);
        fs.mkdirSync(path.dirname(file), { recursive: true });
        fs.writeFileSync(file, Buffer.isBuffer(content) || typeof content === 'string' ? content : JSON.stringify(content, null, 2));
    }
}

const linear = (name, from, to) => ({ [`${name}.weight`]: [to, from], [`${name}.bias`]: [to] });
const norm = name => ({ [`${name}.weight`]: [WIDTH], [`${name}.bias`]: [WIDTH] });
const sizes = { hidden_size: WIDTH, intermediate_size: MLP, num_hidden_layers: LAYERS, num_attention_heads: HEADS, hidden_act: 'gelu' };

function layers(attention, ...norms) {
    const shapes = {};
    for (let i = 0; i < LAYERS; i++) {
        const at = `encoder.layer.${i}`;
        for (const part of ['query', 'key', 'value']) Object.assign(shapes, linear(`${at}.attention.${attention}.${part}`, WIDTH, WIDTH));
        Object.assign(shapes, linear(`${at}.attention.output.dense`, WIDTH, WIDTH), linear(`${at}.intermediate.dense`, WIDTH, MLP),
            linear(`${at}.output.dense`, MLP, WIDTH), ...norms.map(name => norm(`${at}.${name}`)));
    }
    return shapes;
}

const letters = [...'abcdefghijklmnopqrstuvwxyz0123456789'], marks = [...".,!?&'-—"];
const words = ['a', 'the', 'photo', 'of', 'dress', 'coat', 'boot', 'ankle', 'bag', 'cafe', 'with', 'it', 'space'];
const pieces = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]',
    ...new Set([...letters, ...marks, ...words]), ...letters.map(l => `##${l}`), '##s', '##ed', '##ing'];
const vocabulary = Object.fromEntries([...new Set(pieces)].map((piece, id) => [piece, id]));
const special = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'];
const template = token => ({ SpecialToken: { id: token, type_id: 0 } });

write('text', {
    'config.json': { model_type: 'bert', architectures: ['BertModel'], ...sizes, vocab_size: Object.keys(vocabulary).length,
        max_position_embeddings: CONTEXT, type_vocab_size: 2, layer_norm_eps: 1e-12, pad_token_id: 0 },
    'modules.json': [
        { idx: 0, name: '0', path: '', type: 'sentence_transformers.models.Transformer' },
        { idx: 1, name: '1', path: '1_Pooling', type: 'sentence_transformers.models.Pooling' },
        { idx: 2, name: '2', path: '2_Normalize', type: 'sentence_transformers.models.Normalize' },
    ],
    '1_Pooling/config.json': { word_embedding_dimension: WIDTH, pooling_mode_mean_tokens: true },
    'tokenizer.json': {
        version: '1.0', truncation: null, padding: null,
        added_tokens: special.map((content, id) => (
            { id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true })),
        normalizer: { type: 'BertNormalizer', clean_text: true, handle_chinese_chars: true, strip_accents: null, lowercase: true },
        pre_tokenizer: { type: 'BertPreTokenizer' },
        post_processor: { type: 'TemplateProcessing', single: [template('[CLS]'), { Sequence: { id: 'A', type_id: 0 } }, template('[SEP]')],
            pair: [template('[CLS]'), { Sequence: { id: 'A', type_id: 0 } }, template('[SEP]')],
            special_tokens: Object.fromEntries(['[CLS]', '[SEP]'].map(t => [t, { id: t, ids: [vocabulary[t]], tokens: [t] }])) },
        decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
        model: { type: 'WordPiece', unk_token: '[UNK]', continuing_subword_prefix: '##', max_input_chars_per_word: 100, vocab: vocabulary },
    },
    'tokenizer_config.json': { tokenizer_class: 'BertTokenizer', model_max_length: CONTEXT, do_lower_case: true, pad_token: '[PAD]',
        unk_token: '[UNK]', cls_token: '[CLS]', sep_token: '[SEP]', mask_token: '[MASK]' },
    'model.safetensors': safetensors({
        'embeddings.word_embeddings.weight': [Object.keys(vocabulary).length, WIDTH], 'embeddings.position_embeddings.weight': [CONTEXT, WIDTH],
        'embeddings.token_type_embeddings.weight': [2, WIDTH], ...norm('embeddings.LayerNorm'),
        ...layers('self', 'attention.output.LayerNorm', 'output.LayerNorm'),
    }),
});

write('image', {
    'config.json': { model_type: 'vit', architectures: ['ViTModel'], ...sizes, image_size: IMAGE, patch_size: PATCH, num_channels: 3,
        layer_norm_eps: 1e-12, qkv_bias: true },
    'preprocessor_config.json': { image_processor_type: 'ViTImageProcessor', do_resize: true, size: { height: IMAGE, width: IMAGE }, resample: 2,
        do_rescale: true, rescale_factor: 1 / 255, do_normalize: true, image_mean: [0.5, 0.5, 0.5], image_std: [0.5, 0.5, 0.5] },
    'model.safetensors': safetensors({
        'embeddings.cls_token': [1, 1, WIDTH], 'embeddings.position_embeddings': [1, 1 + (IMAGE / PATCH) ** 2, WIDTH],
        'embeddings.patch_embeddings.projection.weight': [WIDTH, 3, PATCH, PATCH], 'embeddings.patch_embeddings.projection.bias': [WIDTH],
        ...layers('attention', 'layernorm_before', 'layernorm_after'), ...norm('layernorm'),
    }),
});
