namespace MLNetMultimodal.Media.Images;

/// <summary>Draws over a picture where a model looked: what was looked at is lit, the rest is dimmed. Thread-safe.</summary>
public static class AttentionOverlay
{
    const int MaxEdge = 8192;

    /// <summary>Draws a map over a picture.</summary>
    /// <param name="picture">The picture as the model saw it (<see cref="ImagePreprocessing.ResizeAndCrop"/>): the grid of patches
    /// covers all of it.</param>
    /// <param name="weights">[rows, columns]: how much each patch was looked at, at least 0; only their shares of the largest
    /// count.</param>
    /// <param name="rows">Rows of patches.</param>
    /// <param name="columns">Columns of patches.</param>
    /// <param name="scale">Pixels of the result for one of the picture; small pictures are easier to read enlarged.</param>
    /// <returns>The picture, of <paramref name="scale"/> times its size: from its own colours dimmed, where nobody looked, to a
    /// bright red-yellow, where most did.</returns>
    /// <exception cref="ArgumentException">There are not rows times columns weights, or one is negative or no finite
    /// number.</exception>
    public static RgbImage Draw(RgbImage picture, ReadOnlySpan<float> weights, int rows, int columns, int scale = 1)
    {
        ArgumentNullException.ThrowIfNull(picture);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(rows);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(columns);
        if (weights.Length != (long)rows * columns)
            throw new ArgumentException($"weights must be [{rows}, {columns}], {(long)rows * columns} values, but has {weights.Length}.", nameof(weights));
        if (scale < 1 || (long)scale * Math.Max(picture.Width, picture.Height) > MaxEdge)
            throw new ArgumentOutOfRangeException(nameof(scale), scale, $"the result must be at most {MaxEdge} pixels wide and high.");
        float largest = 0;
        foreach (float w in weights)
            largest = float.IsFinite(w) && w >= 0 ? Math.Max(largest, w)
                : throw new ArgumentException($"weights must be finite and at least 0, but one is {w}.", nameof(weights));
        int width = picture.Width * scale, height = picture.Height * scale;
        var pixels = new byte[3 * width * height];
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x++)
            {
                float heat = largest == 0 ? 0 : At(weights, rows, columns, (y + 0.5f) / height, (x + 0.5f) / width) / largest;
                int from = 3 * (y / scale * picture.Width + x / scale), to = 3 * (y * width + x);
                Blend(picture.Pixels.AsSpan(from, 3), heat, pixels.AsSpan(to, 3));
            }
        return new(width, height, pixels);
    }

    /// <summary>Between the centres of patches, bilinearly; the outermost reach to the edge.</summary>
    static float At(ReadOnlySpan<float> weights, int rows, int columns, float down, float right)
    {
        float y = Math.Clamp(down * rows - 0.5f, 0, rows - 1), x = Math.Clamp(right * columns - 0.5f, 0, columns - 1);
        int top = (int)y, left = (int)x, bottom = Math.Min(top + 1, rows - 1), further = Math.Min(left + 1, columns - 1);
        float upper = float.Lerp(weights[top * columns + left], weights[top * columns + further], x - left);
        float lower = float.Lerp(weights[bottom * columns + left], weights[bottom * columns + further], x - left);
        return float.Lerp(upper, lower, y - top);
    }

    /// <summary>Black to red to yellow over a picture of half its brightness.</summary>
    static void Blend(ReadOnlySpan<byte> from, float heat, Span<byte> to)
    {
        float red = Math.Min(1, 2 * heat), green = Math.Max(0, 2 * heat - 1), share = 0.7f * heat;
        to[0] = Mix(from[0], red);
        to[1] = Mix(from[1], green);
        to[2] = Mix(from[2], 0);

        byte Mix(byte own, float lit) => (byte)MathF.Round((1 - share) * (0.5f + 0.5f * heat) * own + share * 255 * lit);
    }
}
