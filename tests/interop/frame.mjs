// Pictures of 28x28 in a black frame, so that they have the size that the model takes: frame.mjs FOLDER SIZE PICTURE…
import path from 'node:path';
import sharp from 'sharp';

const [folder, size, ...pictures] = process.argv.slice(2);
for (const [i, picture] of pictures.entries()) {
    const { width, height } = await sharp(picture).metadata();
    const left = (size - width) >> 1, top = (size - height) >> 1;
    await sharp(picture)
        .extend({ left, top, right: size - width - left, bottom: size - height - top, background: 'black' })
        .png().toFile(path.join(folder, `${i}.png`));
}
