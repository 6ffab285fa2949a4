using System.IO.Compression;
using MLNetMultimodal.Media.Images;

/// <summary>Grey pictures of one size with labels from 0, as Fashion-MNIST's files hold them.</summary>
sealed class LabelledPictures(byte[] pixels, byte[] labels)
{
    public const int Edge = 28, Size = 3 * Edge * Edge;

    // What the encoders were trained with.
    static readonly (float R, float G, float B) s_mean = ImagePreprocessing.Clip(Edge).Mean!.Value, s_deviation = ImagePreprocessing.Clip(Edge).Std!.Value;

    public int Count => labels.Length;

    public byte Label(int row) => labels[row];

    public static LabelledPictures Load(string folder, string split) =>
        new(Read(Path.Combine(folder, split + "-images-idx3-ubyte.gz"), 16), Read(Path.Combine(folder, split + "-labels-idx1-ubyte.gz"), 8));

    static byte[] Read(string file, int header)
    {
        using var zip = new GZipStream(File.OpenRead(file), CompressionMode.Decompress);
        var all = new MemoryStream();
        zip.CopyTo(all);
        return all.ToArray()[header..];
    }

    /// <summary>So many rows of each class, none of <paramref name="without"/>.</summary>
    public int[] Balanced(int perClass, int seed, params IEnumerable<int> without)
    {
        HashSet<int> left = [.. without];
        int[] order = [.. Enumerable.Range(0, Count)];
        new Random(seed).Shuffle(order);
        return [.. order.Where(r => !left.Contains(r)).GroupBy(Label).OrderBy(g => g.Key).SelectMany(g => g.Take(perClass))];
    }

    /// <summary>[B, 3, 28, 28], normalised; mirrored and moved at random where <paramref name="vary"/> is given.</summary>
    public float[] Pixels(IReadOnlyList<int> rows, Random? vary = null)
    {
        var result = new float[rows.Count * Size];
        for (int i = 0; i < rows.Count; i++)
        {
            bool mirror = vary is not null && vary.Next(2) == 1;
            int down = vary?.Next(-2, 3) ?? 0, right = vary?.Next(-2, 3) ?? 0;
            for (int y = 0; y < Edge; y++)
                for (int x = 0; x < Edge; x++)
                {
                    int fromY = y - down, fromX = (mirror ? Edge - 1 - x : x) - right;
                    bool inside = fromY is >= 0 and < Edge && fromX is >= 0 and < Edge;
                    float value = inside ? pixels[(rows[i] * Edge + fromY) * Edge + fromX] / 255f : 0;
                    int at = i * Size + y * Edge + x, plane = Edge * Edge;
                    result[at] = (value - s_mean.R) / s_deviation.R;
                    result[at + plane] = (value - s_mean.G) / s_deviation.G;
                    result[at + 2 * plane] = (value - s_mean.B) / s_deviation.B;
                }
        }
        return result;
    }
}
