using System.Numerics.Tensors;
using MLNetMultimodal.Media.Images;

namespace MLNetMultimodal.Training;

/// <summary>Varies pictures and makes them ready for a model. One seed, epoch and index give one result, on any thread.
/// Thread-safe.</summary>
/// <remarks>In this order: crop and scale, mirror, colours, move, normalise, erase.</remarks>
sealed class Augmentation
{
    const int CropAttempts = 10; // as in torchvision
    static readonly float[] s_greyWeights = [0.299f, 0.587f, 0.114f]; // ITU-R BT.601, as Pillow has it

    readonly AugmentationOptions _options;
    readonly int _seed, _height, _width;
    readonly float[] _scale, _shift;

    /// <summary>For results of one size.</summary>
    /// <param name="options">What is done.</param>
    /// <param name="height">H of the results, pixels.</param>
    /// <param name="width">W of the results, pixels.</param>
    /// <param name="mean">Mean of red, green and blue, of values from 0 to 1.</param>
    /// <param name="std">Standard deviation of red, green and blue, above 0.</param>
    /// <param name="seed">Another seed varies differently.</param>
    /// <exception cref="ArgumentException">The options' ranges are empty, or a size, mean or deviation is senseless.</exception>
    public Augmentation(AugmentationOptions options, int height, int width, IReadOnlyList<float> mean, IReadOnlyList<float> std, int seed)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(height);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(width);
        if (mean.Count != 3 || std.Count != 3 || std.Any(s => !(s > 0))) throw new ArgumentException("mean and std must have three values, those of std above 0.");
        if (options.CropMinScale > options.CropMaxScale)
            throw new ArgumentException($"CropMinScale ({options.CropMinScale}) must not be above CropMaxScale ({options.CropMaxScale}).", nameof(options));
        if (options.EraseMinArea > options.EraseMaxArea)
            throw new ArgumentException($"EraseMinArea ({options.EraseMinArea}) must not be above EraseMaxArea ({options.EraseMaxArea}).", nameof(options));
        (_options, _height, _width, _seed) = (options, height, width, seed);
        _scale = [.. std.Select(s => 1 / (255 * s))];
        _shift = [.. mean.Zip(std, (m, s) => -m / s)];
    }

    /// <summary>For what a model's preprocessing makes of pictures.</summary>
    /// <param name="images">Size, mean and deviation.</param>
    /// <param name="options">What is done.</param>
    /// <param name="seed">Another seed varies differently.</param>
    public static Augmentation For(ImagePreprocessing images, AugmentationOptions options, int seed)
    {
        var (mean, std) = (images.Mean ?? (0, 0, 0), images.Std ?? (1, 1, 1));
        return new(options, images.Height, images.Width, [mean.R, mean.G, mean.B], [std.R, std.G, std.B], seed);
    }

    /// <summary>Floats of one result: 3 * H * W.</summary>
    public int Length => 3 * _height * _width;

    /// <summary>Makes one picture ready, varied.</summary>
    /// <param name="pixels">[height, width, 3]: red, green, blue.</param>
    /// <param name="height">H of the picture.</param>
    /// <param name="width">W of the picture.</param>
    /// <param name="epoch">Each epoch varies anew.</param>
    /// <param name="index">The picture's place in the data, whatever the order of the epoch.</param>
    /// <param name="result">[3, H, W], normalised.</param>
    /// <exception cref="ArgumentException">Pixels or result do not have the length of their sizes.</exception>
    public void Apply(ReadOnlySpan<byte> pixels, int height, int width, int epoch, long index, Span<float> result)
    {
        Check(pixels, height, width, result);
        var random = new SampleRandom(_seed, epoch, index);
        Box box = _options.CropMinScale < 1 ? Crop(ref random, height, width) : new(0, 0, height, width);
        bool mirror = random.Chance(_options.HorizontalFlip);
        Resampler.Scale(pixels, width, box, mirror, _options.Bicubic, _height, _width, result);
        if (_options.Brightness > 0 || _options.Contrast > 0 || _options.Saturation > 0) Jitter(ref random, result);
        if (_options.TranslatePixels > 0) Translate(ref random, result);
        Normalise(result);
        if (random.Chance(_options.Erase)) Erase(ref random, result);
    }

    /// <summary>Makes one picture ready as it is, for an evaluation.</summary>
    /// <inheritdoc cref="Apply" path="/param"/>
    /// <exception cref="ArgumentException">Pixels or result do not have the length of their sizes.</exception>
    public void Plain(ReadOnlySpan<byte> pixels, int height, int width, Span<float> result)
    {
        Check(pixels, height, width, result);
        Resampler.Scale(pixels, width, new(0, 0, height, width), mirror: false, _options.Bicubic, _height, _width, result);
        Normalise(result);
    }

    void Check(ReadOnlySpan<byte> pixels, int height, int width, ReadOnlySpan<float> result)
    {
        if (height < 1 || width < 1 || pixels.Length != 3L * height * width)
            throw new ArgumentException($"pixels must be [{height}, {width}, 3], which are {3L * height * width} bytes, but are {pixels.Length}.", nameof(pixels));
        if (result.Length != Length) throw new ArgumentException($"result must be [3, {_height}, {_width}], which are {Length} floats, but has {result.Length}.", nameof(result));
    }

    /// <summary>A rectangle of random area and aspect; where ten do not fit, the largest central one of an allowed
    /// aspect.</summary>
    Box Crop(ref SampleRandom random, int height, int width)
    {
        double area = (double)height * width, limit = Math.Log(_options.CropMaxAspect);
        for (int attempt = 0; attempt < CropAttempts; attempt++)
        {
            double part = area * random.Between(_options.CropMinScale, _options.CropMaxScale), aspect = Math.Exp(random.Between(-limit, limit));
            int w = (int)Math.Round(Math.Sqrt(part * aspect)), h = (int)Math.Round(Math.Sqrt(part / aspect));
            if (w >= 1 && h >= 1 && w <= width && h <= height) return new(random.UpTo(height - h), random.UpTo(width - w), h, w);
        }
        int wide = Math.Min(width, Math.Max(1, (int)Math.Round(height * (double)_options.CropMaxAspect)));
        int high = Math.Min(height, Math.Max(1, (int)Math.Round(width * (double)_options.CropMaxAspect)));
        return new((height - high) / 2, (width - wide) / 2, high, wide);
    }

    /// <summary>Brightness, contrast and saturation in a random order, values from 0 to 255.</summary>
    void Jitter(ref SampleRandom random, Span<float> values)
    {
        Span<int> order = [0, 1, 2];
        for (int i = 2; i > 0; i--)
        {
            int k = random.UpTo(i);
            (order[i], order[k]) = (order[k], order[i]);
        }
        foreach (int kind in order)
        {
            float strength = kind == 0 ? _options.Brightness : kind == 1 ? _options.Contrast : _options.Saturation;
            if (strength == 0) continue;
            float factor = (float)random.Between(1 - strength, 1 + strength);
            if (kind == 0) TensorPrimitives.Multiply(values, factor, values);
            else if (kind == 1) Contrast(values, factor);
            else Saturate(values, factor);
            TensorPrimitives.Clamp(values, 0f, 255f, values);
        }
    }

    void Contrast(Span<float> values, float factor)
    {
        int plane = _height * _width;
        float grey = 0;
        for (int channel = 0; channel < 3; channel++) grey += s_greyWeights[channel] * TensorPrimitives.Sum(values.Slice(channel * plane, plane)) / plane;
        TensorPrimitives.Multiply(values, factor, values);
        TensorPrimitives.Add(values, (1 - factor) * grey, values);
    }

    void Saturate(Span<float> values, float factor)
    {
        int plane = _height * _width;
        Span<float> red = values[..plane], green = values.Slice(plane, plane), blue = values.Slice(2 * plane, plane);
        for (int i = 0; i < plane; i++)
        {
            float grey = (1 - factor) * (s_greyWeights[0] * red[i] + s_greyWeights[1] * green[i] + s_greyWeights[2] * blue[i]);
            red[i] = red[i] * factor + grey;
            green[i] = green[i] * factor + grey;
            blue[i] = blue[i] * factor + grey;
        }
    }

    void Translate(ref SampleRandom random, Span<float> values)
    {
        int down = random.UpTo(2 * _options.TranslatePixels) - _options.TranslatePixels, right = random.UpTo(2 * _options.TranslatePixels) - _options.TranslatePixels;
        int from = Math.Clamp(-right, 0, _width), to = Math.Clamp(right, 0, _width), count = _width - from - to;
        for (int channel = 0; channel < 3; channel++)
        {
            for (int i = 0; i < _height; i++)
            {
                int y = down > 0 ? _height - 1 - i : i; // never overwrites a row that is still to be read
                Span<float> row = values.Slice((channel * _height + y) * _width, _width);
                if (y - down < 0 || y - down >= _height || count <= 0)
                {
                    row.Clear();
                    continue;
                }
                values.Slice((channel * _height + y - down) * _width + from, count).CopyTo(row[to..]);
                row[..to].Clear();
                row[(to + count)..].Clear();
            }
        }
    }

    void Normalise(Span<float> values)
    {
        int plane = _height * _width;
        for (int channel = 0; channel < 3; channel++)
        {
            Span<float> all = values.Slice(channel * plane, plane);
            TensorPrimitives.Multiply(all, _scale[channel], all);
            TensorPrimitives.Add(all, _shift[channel], all);
        }
    }

    /// <summary>A rectangle in the mean colour, which is 0 after normalising; its aspect lies between 0.3 and 1/0.3 as in the
    /// paper.</summary>
    void Erase(ref SampleRandom random, Span<float> values)
    {
        double limit = -Math.Log(0.3);
        for (int attempt = 0; attempt < CropAttempts; attempt++)
        {
            double part = (double)_height * _width * random.Between(_options.EraseMinArea, _options.EraseMaxArea), aspect = Math.Exp(random.Between(-limit, limit));
            int w = (int)Math.Round(Math.Sqrt(part * aspect)), h = (int)Math.Round(Math.Sqrt(part / aspect));
            if (w < 1 || h < 1 || w > _width || h > _height) continue;
            int top = random.UpTo(_height - h), left = random.UpTo(_width - w);
            for (int channel = 0; channel < 3; channel++)
                for (int y = top; y < top + h; y++)
                    values.Slice((channel * _height + y) * _width + left, w).Clear();
            return;
        }
    }
}
