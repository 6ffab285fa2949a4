using System.Text.Json;
using MLNetMultimodal.Media.Images;

namespace MLNetMultimodal;

/// <summary>A picture of a benchmark: a file, or a part of one, or pixels.</summary>
public sealed record CompositionImage
{
    /// <summary>A picture file.</summary>
    /// <param name="path">The file; opened when it is looked at.</param>
    public CompositionImage(string path) => Path = path;

    /// <summary>Pixels.</summary>
    /// <param name="image">The picture.</param>
    public CompositionImage(RgbImage image) => (Path, Pixels) = ("", image);

    /// <summary>The file; empty for pixels.</summary>
    public string Path { get; }

    /// <summary>The pixels; null for a file.</summary>
    public RgbImage? Pixels { get; }

    /// <summary>The part that is looked at, in pixels; null for all. What lies outside the picture is left out.</summary>
    public (int X, int Y, int Width, int Height)? Box { get; init; }

    internal RgbImage Load()
    {
        RgbImage image = Pixels ?? ImageDecoder.Decode(Path);
        if (Box is not { } box) return image;
        int left = Math.Clamp(box.X, 0, image.Width), right = (int)Math.Clamp((long)box.X + box.Width, 0, image.Width);
        int top = Math.Clamp(box.Y, 0, image.Height), bottom = (int)Math.Clamp((long)box.Y + box.Height, 0, image.Height);
        if (right <= left || bottom <= top)
            throw new InvalidDataException($"the box {box} lies outside the picture '{Path}' of {image.Width}x{image.Height}.");
        var pixels = new byte[3 * (right - left) * (bottom - top)];
        for (int y = top; y < bottom; y++)
            image.Pixels.AsSpan(3 * (y * image.Width + left), 3 * (right - left)).CopyTo(pixels.AsSpan(3 * (y - top) * (right - left)));
        return new(right - left, bottom - top, pixels);
    }
}

/// <summary>A question of a benchmark of composition: captions of nearly the same words, and pictures, where caption n is right for
/// picture n and wrong for all others. With one picture, the further captions are wrong.</summary>
/// <param name="Captions">At least two.</param>
/// <param name="Images">One, or one per caption.</param>
/// <param name="Tag">The kind of question, for results by kind; empty for none.</param>
public sealed record CompositionItem(IReadOnlyList<string> Captions, IReadOnlyList<CompositionImage> Images, string Tag = "")
{
    const int MaxFileBytes = 1 << 28;

    internal void Check(int index)
    {
        if (Captions.Count < 2 || Images.Count != 1 && Images.Count != Captions.Count)
            throw new ArgumentException($"item {index} has {Captions.Count} captions and {Images.Count} pictures; wanted are at least two captions, "
                + "and one picture or one for each caption.");
    }

    /// <summary>Reads Winoground (Thrush et al. 2022, arXiv:2204.03162): <c>examples.jsonl</c>, with <c>caption_0</c>,
    /// <c>caption_1</c>, <c>image_0</c>, <c>image_1</c> and <c>collapsed_tag</c>.</summary>
    /// <param name="path">The file, UTF-8, one object a line.</param>
    /// <param name="imageFolder">Folder of the pictures; null for <c>images</c> beside the file. A name without an ending means a
    /// <c>.png</c> or <c>.jpg</c>.</param>
    /// <exception cref="FileNotFoundException">The file or a picture does not exist.</exception>
    /// <exception cref="InvalidDataException">A line is not as described; the message names it.</exception>
    public static IReadOnlyList<CompositionItem> LoadWinoground(string path, string? imageFolder = null)
    {
        RequireFile(path);
        string folder = imageFolder ?? Path.Combine(Path.GetDirectoryName(Path.GetFullPath(path))!, "images");
        var items = new List<CompositionItem>();
        int number = 0;
        foreach (string line in File.ReadLines(path))
        {
            string where = $"'{path}', line {++number}";
            if (string.IsNullOrWhiteSpace(line)) continue;
            using JsonDocument json = Parse(line, where);
            JsonElement row = json.RootElement;
            items.Add(new([Text(row, "caption_0", where), Text(row, "caption_1", where)],
                [new(Picture(folder, Text(row, "image_0", where), where)), new(Picture(folder, Text(row, "image_1", where), where))],
                row.TryGetProperty("collapsed_tag", out _) ? Text(row, "collapsed_tag", where) : ""));
        }
        return items;
    }

    /// <summary>Reads SugarCrepe (Hsieh et al. 2023, arXiv:2306.14610): an object of objects with <c>filename</c>, <c>caption</c> and
    /// <c>negative_caption</c>, such as <c>swap_obj.json</c>; the file's name becomes the tag.</summary>
    /// <param name="path">The file.</param>
    /// <param name="imageFolder">Folder of the pictures: COCO's <c>val2017</c>.</param>
    /// <exception cref="FileNotFoundException">The file or a picture does not exist.</exception>
    /// <exception cref="InvalidDataException">The file is not as described; the message names the entry.</exception>
    public static IReadOnlyList<CompositionItem> LoadSugarCrepe(string path, string imageFolder)
    {
        using JsonDocument json = ParseFile(path);
        if (json.RootElement.ValueKind != JsonValueKind.Object) throw new InvalidDataException($"'{path}' must be an object of objects, but is {json.RootElement.ValueKind}.");
        return [.. json.RootElement.EnumerateObject().Select(entry =>
        {
            string where = $"'{path}', entry '{entry.Name}'";
            return new CompositionItem([Text(entry.Value, "caption", where), Text(entry.Value, "negative_caption", where)],
                [new(Picture(imageFolder, Text(entry.Value, "filename", where), where))], Path.GetFileNameWithoutExtension(path));
        })];
    }

    /// <summary>Reads ARO (Yuksekgonul et al. 2023, arXiv:2210.01936): a list of objects. Visual Genome's have <c>image_path</c>,
    /// <c>bbox_x</c>, <c>bbox_y</c>, <c>bbox_w</c>, <c>bbox_h</c>, <c>true_caption</c> and <c>false_caption</c>, and the part of the
    /// picture in the box is looked at; <c>relation_name</c> or <c>attributes</c> become the tag. Those of order have <c>image</c> and
    /// <c>caption_options</c>, of which the first is right.</summary>
    /// <param name="path">The file.</param>
    /// <param name="imageFolder">Folder of the pictures.</param>
    /// <exception cref="FileNotFoundException">The file or a picture does not exist.</exception>
    /// <exception cref="InvalidDataException">The file is not as described; the message names the entry.</exception>
    public static IReadOnlyList<CompositionItem> LoadAro(string path, string imageFolder)
    {
        using JsonDocument json = ParseFile(path);
        if (json.RootElement.ValueKind != JsonValueKind.Array) throw new InvalidDataException($"'{path}' must be a list of objects, but is {json.RootElement.ValueKind}.");
        return [.. json.RootElement.EnumerateArray().Select((row, i) => Aro(row, imageFolder, $"'{path}', entry {i}"))];
    }

    static CompositionItem Aro(JsonElement row, string folder, string where)
    {
        if (Property(row, "caption_options") is { } options)
            return new(Texts(options, "caption_options", where), [new(Picture(folder, Text(row, "image", where), where))], "order");
        string tag = Property(row, "relation_name") is { } ? Text(row, "relation_name", where)
            : Property(row, "attributes") is { } attributes ? string.Join('_', Texts(attributes, "attributes", where)) : "";
        var image = new CompositionImage(Picture(folder, Text(row, "image_path", where), where))
        {
            Box = (Number(row, "bbox_x", where), Number(row, "bbox_y", where), Number(row, "bbox_w", where), Number(row, "bbox_h", where)),
        };
        return new([Text(row, "true_caption", where), Text(row, "false_caption", where)], [image], tag);
    }

    static void RequireFile(string path)
    {
        if (!File.Exists(path)) throw new FileNotFoundException($"the benchmark '{path}' does not exist.", path);
        if (new FileInfo(path).Length > MaxFileBytes) throw new InvalidDataException($"'{path}' is larger than {MaxFileBytes >> 20} MB.");
    }

    static JsonDocument ParseFile(string path)
    {
        RequireFile(path);
        return Parse(File.ReadAllText(path), $"'{path}'");
    }

    static JsonDocument Parse(string text, string where)
    {
        try
        {
            return JsonDocument.Parse(text, new() { MaxDepth = 16 });
        }
        catch (JsonException e)
        {
            throw new InvalidDataException($"{where}: not JSON: {e.Message}", e);
        }
    }

    static JsonElement? Property(JsonElement row, string name) =>
        row.ValueKind == JsonValueKind.Object && row.TryGetProperty(name, out JsonElement value) ? value : null;

    static string Text(JsonElement row, string name, string where) => Property(row, name) is { } value ? AsText(value, name, where)
        : throw new InvalidDataException($"{where}: there is no field '{name}'.");

    static string AsText(JsonElement value, string name, string where)
    {
        try
        {
            if (value.ValueKind == JsonValueKind.String) return value.GetString()!;
        }
        catch (InvalidOperationException e) // half a surrogate pair
        {
            throw new InvalidDataException($"{where}: the field '{name}' is no text: {e.Message}", e);
        }
        throw new InvalidDataException($"{where}: the field '{name}' must be text, but is {value.ValueKind}.");
    }

    static string[] Texts(JsonElement value, string name, string where) => value.ValueKind == JsonValueKind.Array && value.GetArrayLength() > 1
        ? [.. value.EnumerateArray().Select(v => AsText(v, name, where))]
        : throw new InvalidDataException($"{where}: the field '{name}' must be a list of at least two texts.");

    static int Number(JsonElement row, string name, string where) => Property(row, name) is { ValueKind: JsonValueKind.Number } value && value.TryGetInt32(out int number)
        ? number : throw new InvalidDataException($"{where}: the field '{name}' must be a whole number.");

    // A name from a file must not lead out of the folder.
    static string Picture(string folder, string name, string where)
    {
        string root = Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder)) + Path.DirectorySeparatorChar;
        foreach (string candidate in new[] { name, $"{name}.png", $"{name}.jpg" })
        {
            string path = Path.GetFullPath(Path.Combine(root, candidate));
            if (!path.StartsWith(root, StringComparison.Ordinal)) throw new InvalidDataException($"{where}: the picture '{name}' lies outside '{folder}'.");
            if (File.Exists(path)) return path;
        }
        throw new FileNotFoundException($"{where}: there is no picture '{name}' in '{folder}'.", name);
    }
}
