using System.Buffers.Binary;
using System.IO.Compression;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Transforms.Image;
using MLNetMultimodal.Data;
using MLNetMultimodal.Inference;

namespace MLNetMultimodal;

/// <summary>Options of <see cref="IdxCatalog.LoadIdx"/>.</summary>
public sealed record IdxOptions
{
    /// <summary>Names of the classes: label n is <c>ClassNames[n]</c>; null for the lines of <c>classnames.txt</c> where that
    /// lies beside the labels, else for the numbers <c>0</c>, <c>1</c>, … up to the highest label of the file.</summary>
    public IReadOnlyList<string>? ClassNames { get; init; }

    /// <summary>Caption of a row, with <c>{}</c> in place of its class name; default <c>a photo of a {}.</c></summary>
    public string CaptionTemplate { get; init; } = ZeroShotPrompts.DefaultTemplate;

    /// <summary>The most rows that are read, at least 1; default all.</summary>
    public int MaxRows
    {
        get;
        init => field = value >= 1 ? value
            : throw new ArgumentOutOfRangeException(nameof(MaxRows), value, "MaxRows must be at least 1.");
    } = int.MaxValue;
}

/// <summary>Adds the loader to <see cref="MLContext.Data"/>.</summary>
public static class IdxCatalog
{
    extension(DataOperationsCatalog catalog)
    {
        /// <summary>Pictures and labels in the IDX format of MNIST and Fashion-MNIST (Xiao et al. 2017, arXiv:1708.07747), plain
        /// or gzipped. Columns: <c>Image</c>
        /// (MLImage, made when asked for), <c>Label</c> (a key whose values are the class names), <c>LabelText</c> (text),
        /// <c>Caption</c> (text).
        /// The bytes are held in memory, one a pixel. The view can be shuffled;
        /// ML.NET's <c>Cache</c> leaves out MLImage columns, so cache after embedding.</summary>
        /// <param name="imagesFile">Unsigned bytes [N, H, W] grey or [N, H, W, 3] red, green, blue.</param>
        /// <param name="labelsFile">Unsigned bytes [N].</param>
        /// <param name="options">Class names and caption; null for the defaults.</param>
        /// <exception cref="FileNotFoundException">A file is missing.</exception>
        /// <exception cref="InvalidDataException">A file is not IDX, is cut off, the two have different numbers of rows, or a
        /// label has no class name.</exception>
        public IDataView LoadIdx(string imagesFile, string labelsFile, IdxOptions? options = null)
        {
            ArgumentNullException.ThrowIfNull(catalog);
            options ??= new();
            IdxArray images = IdxArray.Read(imagesFile, options.MaxRows), labels = IdxArray.Read(labelsFile, options.MaxRows);
            if (images.Sizes is not ([_, _, _] or [_, _, _, 3]))
                throw new InvalidDataException($"'{imagesFile}' must be [N, H, W] or [N, H, W, 3], but is {images}.");
            if (labels.Sizes.Length != 1) throw new InvalidDataException($"'{labelsFile}' must be [N], but is {labels}.");
            if (images.Sizes[0] != labels.Sizes[0])
                throw new InvalidDataException($"'{imagesFile}' has {images.Sizes[0]} rows, but '{labelsFile}' has {labels.Sizes[0]}.");
            byte[] classes = labels.Values;
            int highest = classes.Length == 0 ? 0 : classes.Max();
            IReadOnlyList<string> names = options.ClassNames
                ?? ZeroShotPrompts.LoadLabels(Path.GetDirectoryName(Path.GetFullPath(labelsFile))!)
                ?? [.. Enumerable.Range(0, highest + 1).Select(n => FormattableString.Invariant($"{n}"))];
            if (highest >= names.Count)
                throw new InvalidDataException($"'{labelsFile}' has the label {highest}, but there are only {names.Count} class names.");
            string[] captions = [.. names.Select(n => options.CaptionTemplate.Replace("{}", n, StringComparison.Ordinal))];
            return new RowsDataView(classes.Length,
            [
                new("Image", new ImageDataViewType(images.Sizes[1], images.Sizes[2]), row =>
                    (ValueGetter<MLImage>)((ref MLImage image) =>
                {
                    image?.Dispose();
                    image = images.Image(row());
                })),
                RowsDataView.Key("Label", names, row => classes[row]),
                RowsDataView.Text("LabelText", row => names[classes[row]]),
                RowsDataView.Text("Caption", row => captions[classes[row]]),
            ]);
        }
    }
}

/// <summary>An array of unsigned bytes in the IDX format: two zeros, the type 8, the number of sizes, big-endian sizes, then the
/// values.</summary>
sealed record IdxArray(int[] Sizes, byte[] Values)
{
    const byte UnsignedByte = 8;
    const int MaxSizes = 4, MaxSide = 16_384;

    /// <exception cref="InvalidDataException">Not IDX, of another type, or shorter than its header says.</exception>
    public static IdxArray Read(string path, int maxRows)
    {
        if (!File.Exists(path)) throw new FileNotFoundException($"the IDX file '{path}' does not exist.", path);
        using Stream file = new BufferedStream(File.OpenRead(path), 1 << 16);
        bool zipped = file.ReadByte() == 0x1F && file.ReadByte() == 0x8B;
        file.Position = 0;
        using Stream stream = zipped ? new GZipStream(file, CompressionMode.Decompress) : file;
        try
        {
            return Read(stream, path, maxRows);
        }
        catch (Exception e) when (e is EndOfStreamException
            || (zipped && e is InvalidDataException && e.GetBaseException().Source is "System.IO.Compression"))
        {
            throw new InvalidDataException($"'{path}' is not a sound IDX file: it is cut off or damaged. {e.Message}", e);
        }
    }

    static IdxArray Read(Stream stream, string path, int maxRows)
    {
        Span<byte> word = stackalloc byte[4];
        stream.ReadExactly(word);
        if (word[0] != 0 || word[1] != 0 || word[2] != UnsignedByte || word[3] is < 1 or > MaxSizes)
            throw new InvalidDataException($"'{path}' is not an IDX file of unsigned bytes: "
                + $"it begins with {Convert.ToHexString(word)}, 00000801 to 0000080{MaxSizes} is wanted.");
        var sizes = new int[word[3]];
        for (int i = 0; i < sizes.Length; i++)
        {
            stream.ReadExactly(word);
            sizes[i] = BinaryPrimitives.ReadInt32BigEndian(word);
            if (sizes[i] < (i == 0 ? 0 : 1) || (i > 0 && sizes[i] > MaxSide))
                throw new InvalidDataException($"'{path}' claims the size {(uint)sizes[i]} in dimension {i}; a side may have 1 to {MaxSide}.");
        }
        sizes[0] = Math.Min(sizes[0], maxRows);
        long total = sizes.Aggregate(1L, (n, size) => checked(n * size));
        if (total > Array.MaxLength)
            throw new InvalidDataException($"'{path}' claims {total} bytes; at most {Array.MaxLength} are read. Set MaxRows.");
        return new(sizes, ReadValues(stream, path, (int)total));
    }

    /// <summary>Grows with what is really there, so that a small file with a large claim takes little memory.</summary>
    static byte[] ReadValues(Stream stream, string path, int total)
    {
        var values = new byte[Math.Min(total, 1 << 20)];
        int at = 0;
        while (at < total)
        {
            if (at == values.Length) Array.Resize(ref values, (int)Math.Min(total, 2L * values.Length));
            int read = stream.Read(values, at, values.Length - at);
            if (read == 0)
                throw new InvalidDataException($"'{path}' is cut off: its header claims {total} bytes of values, {at} are there.");
            at += read;
        }
        return values;
    }

    /// <summary>A row as a picture.</summary>
    public MLImage Image(int row)
    {
        int pixels = Sizes[1] * Sizes[2], channels = Sizes.Length == 4 ? 3 : 1;
        ReadOnlySpan<byte> source = Values.AsSpan(row * pixels * channels, pixels * channels);
        var rgba = new byte[4 * pixels];
        for (int i = 0; i < pixels; i++) // [H, W] or [H, W, 3] -> [H, W, 4]
        {
            for (int c = 0; c < 3; c++) rgba[4 * i + c] = source[channels * i + (channels == 1 ? 0 : c)];
            rgba[4 * i + 3] = 255;
        }
        return MLImage.CreateFromPixels(Sizes[2], Sizes[1], MLPixelFormat.Rgba32, rgba);
    }

    public override string ToString() => $"[{string.Join(", ", Sizes)}]";
}
