using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Transforms.Image;
using VectorKind = Microsoft.ML.SchemaShape.Column.VectorKind;

namespace MLNetMultimodal.Transforms;

/// <summary>Columns by name, with messages that say which there are.</summary>
static class Columns
{
    /// <summary>The annotation that holds the values of a key column.</summary>
    public const string KeyValues = "KeyValues";

    /// <summary>The annotation that names the elements of a vector column.</summary>
    public const string SlotNames = "SlotNames";

    /// <exception cref="ArgumentException">There is no such column; the message lists those there are.</exception>
    public static DataViewSchema.Column Find(DataViewSchema schema, string name) =>
        schema.GetColumnOrNull(name) ?? throw Missing(name, schema.Select(c => c.Name));

    /// <exception cref="ArgumentException">There is no such column; the message lists those there are.</exception>
    public static SchemaShape.Column Find(SchemaShape shape, string name)
    {
        foreach (SchemaShape.Column column in shape)
            if (column.Name == name) return column;
        throw Missing(name, shape.Select(c => c.Name));
    }

    /// <exception cref="ArgumentException">Two columns that are added have the same name.</exception>
    public static void CheckDistinct(params IReadOnlyList<string> outputs)
    {
        if (outputs.Distinct().Count() < outputs.Count)
            throw new ArgumentException($"the output columns must have distinct names, but are {string.Join(", ", outputs)}.");
    }

    /// <summary>True for a picture, a path or encoded bytes.</summary>
    public static bool HoldsImages(DataViewType itemType, bool isVector) =>
        isVector ? itemType == NumberDataViewType.Byte : itemType is ImageDataViewType or TextDataViewType;

    /// <exception cref="ArgumentException">The column is named, and is missing or does not hold pictures.</exception>
    public static void CheckImages(SchemaShape shape, string? name)
    {
        if (name is not null && Find(shape, name) is var found) CheckImages(name, found.ItemType, IsVector(found));
    }

    /// <exception cref="ArgumentException">The column is named, and is missing or does not hold texts.</exception>
    public static void CheckTexts(SchemaShape shape, string? name)
    {
        if (name is not null && Find(shape, name) is var found) CheckTexts(name, found.ItemType, IsVector(found));
    }

    /// <exception cref="ArgumentException">The column is missing or does not hold pictures.</exception>
    public static DataViewSchema.Column FindImages(DataViewSchema schema, string name)
    {
        DataViewSchema.Column found = Find(schema, name);
        CheckImages(name, ItemType(found), IsVector(found));
        return found;
    }

    /// <exception cref="ArgumentException">The column is missing or does not hold texts.</exception>
    public static DataViewSchema.Column FindTexts(DataViewSchema schema, string name)
    {
        DataViewSchema.Column found = Find(schema, name);
        CheckTexts(name, ItemType(found), IsVector(found));
        return found;
    }

    /// <exception cref="ArgumentException">The column does not hold pictures.</exception>
    public static void CheckImages(string name, DataViewType itemType, bool isVector)
    {
        if (!HoldsImages(itemType, isVector))
            throw new ArgumentException($"column '{name}' must hold pictures as MLImage, paths as text or encoded files "
                + $"as a vector of Byte, but is {Describe(itemType, isVector)}.");
    }

    /// <exception cref="ArgumentException">The column does not hold texts.</exception>
    static void CheckTexts(string name, DataViewType itemType, bool isVector)
    {
        if (isVector || itemType is not TextDataViewType)
            throw new ArgumentException($"column '{name}' must be text, but is {Describe(itemType, isVector)}.");
    }

    public static DataViewType ItemType(DataViewSchema.Column column) =>
        column.Type is VectorDataViewType vector ? vector.ItemType : column.Type;

    public static bool IsVector(DataViewSchema.Column column) => column.Type is VectorDataViewType;

    public static bool IsVector(SchemaShape.Column column) => column.Kind != VectorKind.Scalar;

    /// <summary>The text annotation type of slot names and key values.</summary>
    public static VectorDataViewType Names(int count) => new(TextDataViewType.Instance, count);

    /// <summary>A getter that always gives the same texts.</summary>
    public static ValueGetter<VBuffer<ReadOnlyMemory<char>>> Constant(IEnumerable<string> texts)
    {
        ReadOnlyMemory<char>[] values = [.. texts.Select(t => t.AsMemory())];
        return (ref VBuffer<ReadOnlyMemory<char>> value) => Fill(ref value, values);
    }

    /// <summary>Copies values into the buffer that a getter was given.</summary>
    public static void Fill<T>(ref VBuffer<T> value, ReadOnlySpan<T> values)
    {
        VBufferEditor<T> editor = VBufferEditor.Create(ref value, values.Length);
        values.CopyTo(editor.Values);
        value = editor.Commit();
    }

    public static string Describe(DataViewType itemType, bool isVector) =>
        isVector ? $"a vector of {itemType}" : itemType.ToString()!;

    static ArgumentException Missing(string name, IEnumerable<string> columns) =>
        new($"there is no column '{name}'; the columns are {string.Join(", ", columns.Distinct())}.");
}
