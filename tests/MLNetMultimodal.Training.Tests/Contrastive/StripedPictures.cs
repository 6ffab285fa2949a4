using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Training.Tests;

/// <summary>A picture with captions.</summary>
public sealed class PictureRow
{
    /// <summary>A PNG file.</summary>
    [VectorType]
    public byte[] Image { get; set; } = [];

    public string Caption { get; set; } = "";

    [VectorType]
    public string[] Captions { get; set; } = [];

    /// <summary>The class: <c>red across</c>.</summary>
    public string Label { get; set; } = "";

    public float Number { get; set; }
}

/// <summary>Pictures of 8 x 8 pixels: stripes, red or blue, that run across or down, shifted and with noise.
/// The mean colour of a picture says nothing about the direction.</summary>
public static class StripedPictures
{
    public static string[] Classes { get; } = ["red across", "red down", "blue across", "blue down"];

    /// <summary>A model for them.</summary>
    public static ClipConfig Model(int vocabulary) =>
        ClipConfig.Tiny with { Text = ClipConfig.Tiny.Text with { VocabularySize = vocabulary, EndTokenId = vocabulary - 1 } };

    public static PictureRow[] Rows(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(i => new PictureRow
        {
            Image = ImageEncoder.EncodePng(Draw(i % 4, random)),
            Caption = $"a {Classes[i % 4]} pattern",
            Captions = [$"{Classes[i % 4]} lines", $"a {Classes[i % 4]} pattern"],
            Label = Classes[i % 4],
            Number = i,
        })];
    }

    public static IDataView View(MLContext ml, int count, int seed) => ml.Data.LoadFromEnumerable(Rows(count, seed));

    /// <summary>Pictures whose red and blue have changed names: the better a model knows the colours, the worse it does on
    /// them.</summary>
    public static IDataView Swapped(MLContext ml, int count, int seed)
    {
        PictureRow[] rows = Rows(count, seed);
        static string Swap(string text) => text.Contains("red", StringComparison.Ordinal) ? text.Replace("red", "blue", StringComparison.Ordinal)
            : text.Replace("blue", "red", StringComparison.Ordinal);
        foreach (PictureRow row in rows)
            (row.Caption, row.Captions, row.Label) = (Swap(row.Caption), [.. row.Captions.Select(Swap)], Swap(row.Label));
        return ml.Data.LoadFromEnumerable(rows);
    }

    static RgbImage Draw(int kind, Random random)
    {
        int shift = random.Next(4), channel = kind < 2 ? 0 : 2;
        var pixels = new byte[3 * 8 * 8];
        for (int y = 0; y < 8; y++)
            for (int x = 0; x < 8; x++)
            {
                int at = 3 * (8 * y + x);
                for (int c = 0; c < 3; c++) pixels[at + c] = (byte)random.Next(60);
                if (((kind % 2 == 0 ? y : x) + shift) % 4 < 2) pixels[at + channel] = (byte)random.Next(180, 256);
            }
        return new(8, 8, pixels);
    }
}
