using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Transforms.Image;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Media.Images;

namespace MLNetMultimodal.Transforms;

/// <summary>The columns that a fusion model takes its rows from; null for none.</summary>
sealed record FusionColumns(string? Image, string? Text, string? Audio, string? Features)
{
    public string? ImageFolder { get; init; }

    public string? AudioFolder { get; init; }

    public int? AudioSampleRateHz { get; init; }

    public IEnumerable<string> Names => new[] { Image, Text, Audio, Features }.OfType<string>();

    SoundColumn? Sound => Audio is null ? null : new(Audio, AudioFolder, AudioSampleRateHz);

    /// <exception cref="ArgumentException">A column is missing or of the wrong type, or none is given.</exception>
    public void Check(SchemaShape schema)
    {
        if (!Names.Any()) throw new ArgumentException("set Image, Text, Audio, Features or several of them: the columns to predict from.");
        Columns.CheckImages(schema, Image);
        Columns.CheckTexts(schema, Text);
        Sound?.Check(schema);
        if (Features is not null && Columns.Find(schema, Features) is var f
            && (f.ItemType != NumberDataViewType.Single || f.Kind == SchemaShape.Column.VectorKind.VariableVector))
            throw new ArgumentException($"column '{Features}' must hold numbers, Single or a vector of Single of one size, but is "
                + $"{Columns.Describe(f.ItemType, Columns.IsVector(f))}{(Columns.IsVector(f) ? " of any size" : "")}; Concatenate and "
                + "Conversion.ConvertType make such a column.");
    }

    /// <summary>The columns, in the order image, text, audio, features.</summary>
    /// <exception cref="ArgumentException">A column is missing or of the wrong type.</exception>
    public IReadOnlyList<DataViewSchema.Column> Find(DataViewSchema schema)
    {
        var found = new List<DataViewSchema.Column>();
        if (Image is not null) found.Add(Columns.FindImages(schema, Image));
        if (Text is not null) found.Add(Columns.FindTexts(schema, Text));
        if (Sound is { } sound) found.Add(sound.Find(schema));
        if (Features is not null) found.Add(Columns.Find(schema, Features));
        return found;
    }

    /// <summary>Names of the numbers: the slot names of a vector that has them, else the column's name with the number of the
    /// slot.</summary>
    /// <exception cref="ArgumentException">The column is missing or of the wrong type.</exception>
    public IReadOnlyList<string> FeatureNames(DataViewSchema schema)
    {
        DataViewSchema.Column column = Columns.Find(schema, Features!);
        int count = FeatureCount(column);
        if (column.Type is not VectorDataViewType) return [column.Name];
        var names = new string?[count];
        if (column.Annotations.Schema.GetColumnOrNull(Columns.SlotNames) is { Type: VectorDataViewType { ItemType: TextDataViewType } })
        {
            VBuffer<ReadOnlyMemory<char>> slots = default;
            column.Annotations.GetValue(Columns.SlotNames, ref slots);
            foreach (var (index, name) in slots.Items()) names[index] = name.ToString();
        }
        return [.. names.Select((name, i) => string.IsNullOrEmpty(name) ? $"{column.Name} {i}" : name)];
    }

    /// <exception cref="ArgumentException">The column is of the wrong type.</exception>
    public static int FeatureCount(DataViewSchema.Column column) => column.Type switch
    {
        NumberDataViewType type when type == NumberDataViewType.Single => 1,
        VectorDataViewType { IsKnownSize: true } vector when vector.ItemType == NumberDataViewType.Single => vector.Size,
        _ => throw new ArgumentException($"column '{column.Name}' must hold numbers, Single or a vector of Single of one size, but is {column.Type}."),
    };

    public FusionInput With(FusionPreprocessing preprocessing, OnError onError) => new(this, Sound, preprocessing, onError);
}

/// <summary>Rows of a batch on their way into a fusion model.</summary>
/// <param name="rows">The most rows.</param>
sealed class FusionPart(int rows)
{
    public MLImage[] Images { get; } = new MLImage[rows];

    public FilePart Pictures { get; } = new(rows);

    public ReadOnlyMemory<char>[] Texts { get; } = new ReadOnlyMemory<char>[rows];

    public SoundPart Sounds { get; } = new(rows);

    public VBuffer<float>[] Numbers { get; } = new VBuffer<float>[rows];

    /// <summary>What the model sees of each row.</summary>
    public FusionRow[] Rows { get; } = new FusionRow[rows];

    /// <summary>What could not be read of each row; null where all could, or what could not counts as missing.</summary>
    public Exception?[] Errors { get; } = new Exception?[rows];

    /// <summary>Items of each row that could not be read and count as missing.</summary>
    public int[] Failures { get; } = new int[rows];
}

/// <summary>From the columns of a row to what a fusion model sees: read on one thread, prepared on any.</summary>
sealed class FusionInput(FusionColumns columns, SoundColumn? sound, FusionPreprocessing preprocessing, OnError onError)
{
    /// <exception cref="ArgumentException">A column is missing, of the wrong type, or has another number of numbers than the model
    /// takes.</exception>
    public IReadOnlyList<DataViewSchema.Column> Find(DataViewSchema schema)
    {
        if (columns.Features is { } features && FusionColumns.FeatureCount(Columns.Find(schema, features)) is var count
            && count != preprocessing.Config.Features!.Names.Count)
            throw new ArgumentException($"column '{features}' has {count} numbers, but the model takes {preprocessing.Config.Features.Names.Count}.");
        return columns.Find(schema);
    }

    /// <summary>Binds to a row of the source: the result copies the row's items into a slot.</summary>
    public Action<FusionPart, int> Reader(DataViewRow input)
    {
        Find(input.Schema);
        var readers = new List<Action<FusionPart, int>>();
        if (columns.Image is { } image) readers.Add(Pictures(input, input.Schema[image]));
        if (columns.Text is { } text)
        {
            ValueGetter<ReadOnlyMemory<char>> getter = input.GetGetter<ReadOnlyMemory<char>>(input.Schema[text]);
            readers.Add((part, slot) =>
            {
                ReadOnlyMemory<char> value = default;
                getter(ref value);
                part.Texts[slot] = value.ToArray(); // the source may use its memory again
            });
        }
        if (sound?.Reader(input) is { } sounds) readers.Add((part, slot) => sounds(part.Sounds, slot));
        if (columns.Features is { } features) readers.Add(Numbers(input, input.Schema[features]));
        return (part, slot) =>
        {
            foreach (Action<FusionPart, int> read in readers) read(part, slot);
        };
    }

    static Action<FusionPart, int> Pictures(DataViewRow input, DataViewSchema.Column column)
    {
        if (column.Type is not ImageDataViewType)
        {
            Action<FilePart, int> file = FilePart.Reader(input, column);
            return (part, slot) => file(part.Pictures, slot);
        }
        ValueGetter<MLImage> image = input.GetGetter<MLImage>(column);
        return (part, slot) => image(ref part.Images[slot]);
    }

    static Action<FusionPart, int> Numbers(DataViewRow input, DataViewSchema.Column column)
    {
        if (column.Type is VectorDataViewType)
        {
            ValueGetter<VBuffer<float>> vector = input.GetGetter<VBuffer<float>>(column);
            return (part, slot) => vector(ref part.Numbers[slot]);
        }
        ValueGetter<float> single = input.GetGetter<float>(column);
        return (part, slot) =>
        {
            float number = 0;
            single(ref number);
            part.Numbers[slot] = new(1, [number]);
        };
    }

    /// <summary>Decodes and preprocesses a slot; what goes wrong is kept for the row.</summary>
    public void Prepare(FusionPart part, int slot, long row)
    {
        (part.Errors[slot], part.Failures[slot]) = (null, 0);
        FusionRow picture = Try(() => preprocessing.Row(picture: Picture(part, slot)),
            e => FilePart.Unreadable(row, columns.Image!, "the picture", part.Pictures.Path(slot, columns.ImageFolder), e));
        FusionRow text = Try(() => preprocessing.Row(text: columns.Text is null ? null : part.Texts[slot].ToString()),
            e => new($"row {row}, column '{columns.Text}': the text cannot be tokenised: {e.Message}", e));
        FusionRow heard = Try(() => preprocessing.Row(sound: Sound(part, slot)), e => sound!.Unreadable(part.Sounds, slot, row, e));
        float[] numbers = columns.Features is null ? [] : [.. part.Numbers[slot].DenseValues()];
        part.Rows[slot] = new(picture.Picture, text.Tokens, heard.Sound, preprocessing.Row(numbers: numbers).Numbers);

        FusionRow Try(Func<FusionRow> prepare, Func<Exception, InvalidDataException> error)
        {
            try
            {
                return prepare();
            }
            catch (Exception e) when (e is not OutOfMemoryException)
            {
                if (onError == OnError.Throw) part.Errors[slot] ??= error(e);
                else part.Failures[slot]++;
                return new(null, null, null, null);
            }
        }
    }

    RgbImage? Picture(FusionPart part, int slot)
    {
        if (columns.Image is null) return null;
        if (part.Images[slot] is { } image) return ImageColumn.Pixels(image);
        if (part.Pictures.IsEmpty(slot)) return null;
        return part.Pictures.Path(slot, columns.ImageFolder) is { } path ? ImageDecoder.Decode(path)
            : ImageDecoder.Decode(part.Pictures.Content(slot).ToArray(), "the encoded picture");
    }

    Media.Audio.Waveform? Sound(FusionPart part, int slot) =>
        sound is null || part.Sounds.IsEmpty(slot) ? null : sound.Decode(part.Sounds, slot, preprocessing.Sounds!);
}
