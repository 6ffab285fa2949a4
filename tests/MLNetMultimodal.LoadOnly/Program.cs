// A program that references the library, touches none of its types and calls nothing first. It prints the bits of every vector of floats that a saved model adds.
using Microsoft.ML;
using Microsoft.ML.Data;

var ml = new MLContext();
ITransformer model = ml.Model.Load(args[0], out _);
IDataView data = ml.Data.LoadFromEnumerable(File.ReadLines(args[1]).Select(line => new Row(line.Split('\t')[0], line.Split('\t')[1])));
IDataView scored = model.Transform(data);
foreach (DataViewSchema.Column column in scored.Schema)
{
    if (column.Type is not VectorDataViewType vector || vector.ItemType != NumberDataViewType.Single) continue;
    foreach (float[] row in scored.GetColumn<float[]>(column))
        Console.WriteLine($"{column.Name} {string.Join(" ", row.Select(BitConverter.SingleToInt32Bits))}");
}

sealed class Row(string imagePath, string caption)
{
    public string ImagePath { get; set; } = imagePath;

    public string Caption { get; set; } = caption;
}
