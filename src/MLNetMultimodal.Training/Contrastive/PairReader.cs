using System.Globalization;
using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Transforms;

namespace MLNetMultimodal.Training;

/// <summary>Reads pairs out of a data view: captions and groups in one pass, then pictures, then sounds.</summary>
sealed class PairReader(ContrastiveOptions options)
{
    const int Chunk = 64; // sounds that are held encoded

    /// <summary>All captions, in the order of the rows.</summary>
    public IEnumerable<string> Captions(IDataView data)
    {
        using DataViewRowCursor cursor = data.GetRowCursor([data.Schema[options.Text!]]);
        Func<string[]> captions = TextsGetter(cursor, options.Text!);
        while (cursor.MoveNext())
        {
            options.Cancellation.ThrowIfCancellationRequested();
            foreach (string caption in captions()) yield return caption;
        }
    }

    /// <summary>All rows, pictures at the size that the model sees, sounds at its rate.</summary>
    /// <exception cref="InvalidDataException">A picture or sound cannot be read, or a row has no caption or no group; the message
    /// names the row.</exception>
    /// <exception cref="OperationCanceledException">Cancelled: part of the data is no data to train on.</exception>
    public PairSet Read(IDataView data, PairSenses senses, IModelDefinition definition)
    {
        (List<string[]> captions, List<int> groups) = CaptionsAndGroups(data);
        PairItems? pictures = options.Image is null ? null : new PairPictures(Pictures(data, senses.Images!), senses.Images!, options.Augmentation, options.Seed);
        try
        {
            PairItems? sounds = options.Audio is null ? null
                : new PairSounds(Sounds(data, senses.Sounds!, groups.Count), senses.Sounds!, options.AudioAugmentation, options.Seed);
            PairItems? texts = options.Text is null ? null : new PairTexts(captions, senses.Texts!, definition, options.Templates, options.Seed);
            return new(texts is null ? sounds! : pictures ?? sounds!, texts ?? pictures!, groups);
        }
        catch
        {
            pictures?.Dispose();
            throw;
        }
    }

    (List<string[]> Captions, List<int> Groups) CaptionsAndGroups(IDataView data)
    {
        (List<string[]> Captions, List<int> Groups) read = ([], []);
        var numbers = new Dictionary<string, int>(StringComparer.Ordinal);
        using DataViewRowCursor cursor = data.GetRowCursor(data.Schema.Where(c => c.Name == options.Text || c.Name == options.Group));
        Func<string[]>? captions = options.Text is null ? null : TextsGetter(cursor, options.Text!);
        Func<string>? group = options.Group is { } name ? GroupGetter(cursor, name) : null;
        while (cursor.MoveNext())
        {
            options.Cancellation.ThrowIfCancellationRequested();
            string[] texts = captions?.Invoke() ?? [];
            if (captions is not null && texts.Length == 0)
                throw new InvalidDataException($"row {cursor.Position}, column '{options.Text}': the row has no caption.");
            string own = group is not null ? group() : captions is null ? $"{cursor.Position}" : string.Join('\u001f', texts);
            if (own.Length == 0) throw new InvalidDataException($"row {cursor.Position}, column '{options.Group}': the row has no group.");
            if (!numbers.TryGetValue(own, out int number)) numbers.Add(own, number = numbers.Count);
            read.Captions.Add(texts);
            read.Groups.Add(number);
        }
        return read;
    }

    PictureStore Pictures(IDataView data, ImagePreprocessing images) =>
        new PictureReader(options.Image!, options.ImageFolder, options.Cancellation).Read(data, images, options.Cache);

    /// <summary>The sounds of all rows, one channel each at the model's rate.</summary>
    List<Waveform> Sounds(IDataView data, AudioPreprocessing heard, int rows)
    {
        var column = new SoundColumn(options.Audio!, options.AudioFolder, options.AudioSampleRateHz);
        using DataViewRowCursor cursor = data.GetRowCursor([column.Find(data.Schema)]);
        SoundPart part = column.NewPart(Chunk);
        Action<SoundPart, int> read = column.Reader(cursor);
        var sounds = new List<Waveform>(rows);
        for (int held = 0; ;)
        {
            bool more = cursor.MoveNext();
            options.Cancellation.ThrowIfCancellationRequested();
            if (more) read(part, held++);
            if (held == Chunk || !more)
            {
                int first = sounds.Count;
                sounds.AddRange(ParallelDecoding.Run(held, i => Sound(column, part, i, first + i, heard)));
                held = 0;
            }
            if (!more) return sounds;
        }
    }

    static Waveform Sound(SoundColumn column, SoundPart part, int slot, int row, AudioPreprocessing heard)
    {
        try
        {
            Waveform sound = column.Decode(part, slot, heard).Resample(heard.SampleRateHz);
            sound = (heard.Spectrogram?.FirstChannelOnly == true ? new(sound.Channel(0).ToArray(), sound.SampleRateHz) : sound.ToMono()).Slice(0, heard.MaxSamples);
            heard.Apply(sound); // a sound that the model cannot take is found now, and its row named
            return sound;
        }
        catch (Exception e) when (e is InvalidDataException or ArgumentException or IOException)
        {
            throw column.Unreadable(part, slot, row, e);
        }
    }

    /// <exception cref="ArgumentException">The column is named, and is missing or holds neither texts nor vectors of them.</exception>
    public static void CheckTexts(SchemaShape schema, string? name)
    {
        if (name is not null && Columns.Find(schema, name) is { ItemType: not TextDataViewType } text)
            throw new ArgumentException($"column '{name}' must be text or a vector of texts, but is {text.ItemType}.");
    }

    /// <exception cref="ArgumentException">The column is named, and is missing or holds neither texts nor keys.</exception>
    public static void CheckGroups(SchemaShape schema, string? name)
    {
        if (name is null) return;
        SchemaShape.Column group = Columns.Find(schema, name);
        bool fits = group.ItemType is TextDataViewType || group.IsKey && group.ItemType == NumberDataViewType.UInt32;
        if (!fits || Columns.IsVector(group))
            throw new ArgumentException($"column '{name}' must be text or a key of UInt32, but is {Columns.Describe(group.ItemType, Columns.IsVector(group))}; "
                + "Conversion.MapValueToKey makes a key.");
    }

    /// <summary>The texts of a column of texts or of vectors of them, but for empty ones.</summary>
    public static Func<string[]> TextsGetter(DataViewRow row, string name)
    {
        DataViewSchema.Column column = row.Schema[name];
        if (column.Type is VectorDataViewType)
        {
            ValueGetter<VBuffer<ReadOnlyMemory<char>>> vector = row.GetGetter<VBuffer<ReadOnlyMemory<char>>>(column);
            VBuffer<ReadOnlyMemory<char>> values = default;
            return () =>
            {
                vector(ref values);
                return [.. values.DenseValues().Where(v => !v.IsEmpty).Select(v => v.ToString())];
            };
        }
        ValueGetter<ReadOnlyMemory<char>> single = row.GetGetter<ReadOnlyMemory<char>>(column);
        ReadOnlyMemory<char> value = default;
        return () =>
        {
            single(ref value);
            return value.IsEmpty ? [] : [value.ToString()];
        };
    }

    /// <summary>The values of a column of texts or keys; empty where one is missing.</summary>
    public static Func<string> GroupGetter(DataViewRow row, string name)
    {
        DataViewSchema.Column column = row.Schema[name];
        if (column.Type is KeyDataViewType)
        {
            ValueGetter<uint> key = row.GetGetter<uint>(column);
            uint value = 0;
            return () =>
            {
                key(ref value);
                return value == 0 ? "" : value.ToString(CultureInfo.InvariantCulture); // 0 is a missing key
            };
        }
        ValueGetter<ReadOnlyMemory<char>> text = row.GetGetter<ReadOnlyMemory<char>>(column);
        ReadOnlyMemory<char> memory = default;
        return () =>
        {
            text(ref memory);
            return memory.ToString();
        };
    }
}
