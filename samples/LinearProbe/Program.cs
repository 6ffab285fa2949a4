// Trains ML.NET's own classifier on embeddings, with few labelled pictures, and compares it with the same classifier on pixels.
// Needs: the Debian package dataset-fashion-mnist (or the four IDX files elsewhere: --data FOLDER). Takes about 15 seconds on
// two cores.
//
//   dotnet run -c Release --project samples/LinearProbe -- [--data FOLDER] [--model FOLDER] [--shots 10,100] [--rows 2000]
//
// The starter was trained on the training pictures of Fashion-MNIST with captions that name the classes, so few labels tell it
// little that is new. With --model and --data of your own, the table answers the question it is for: what are embeddings worth
// on data that the model has not seen?

using System.Globalization;
using System.Text.RegularExpressions;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Transforms.Image;
using MLNetMultimodal;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Starter;

string Option(string name, string otherwise) =>
    Array.IndexOf(args, "--" + name) is >= 0 and var i && i + 1 < args.Length ? args[i + 1] : otherwise;

string data = Option("data", "/usr/share/datasets/fashion-mnist");
string[] files =
    ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"];
if (Array.Find(files, f => !File.Exists(Path.Combine(data, f))) is { } missing)
{
    Console.Error.WriteLine($"'{data}' has no {missing}: install the Debian package dataset-fashion-mnist, "
        + "or name the folder of Fashion-MNIST's four files with --data.");
    return 1;
}
if (!Regex.IsMatch(Option("shots", "10,100"), "^[1-9][0-9]{0,3}(,[1-9][0-9]{0,3})*$")
    || !int.TryParse(Option("rows", "2000"), out int rows) || rows is < 1 or > 10_000)
{
    Console.Error.WriteLine(
        "--shots takes labelled pictures per class, such as 10,100; --rows takes the number of test pictures, 1 to 10000.");
    return 2;
}
int[] shots = [.. Option("shots", "10,100").Split(',').Select(s => int.Parse(s, CultureInfo.InvariantCulture)).Order()];
string[] classes = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"];

var ml = new MLContext(seed: 1);
using MultimodalModel model = MultimodalModel.Load(Option("model", StarterModel.Folder));
IDataView Load(string split, int most) => ml.Data.LoadIdx(
    Path.Combine(data, split + "-images-idx3-ubyte.gz"), Path.Combine(data, split + "-labels-idx1-ubyte.gz"),
    new() { ClassNames = classes, MaxRows = most });

// The classes are nearly even, so the first 20 * shots pictures hold enough of each. Each picture is embedded once.
IDataView train = Load("train", 20 * shots[^1]), test = Load("t10k", rows);
using MultimodalTransformer embed = ml.Transforms.MultimodalEmbed(new() { LoadedModel = model, Image = "Image" }).Fit(train);
IEstimator<ITransformer> pixels = ml.Transforms.ExtractPixels("Pixels", "Image",
    ImagePixelExtractingEstimator.ColorBits.Red, scaleImage: 1 / 255f);
var features = new TransformerChain<ITransformer>(embed, pixels.Fit(train));
Sample[] Read(IDataView view) => [.. ml.Data.CreateEnumerable<Sample>(features.Transform(view), reuseRowObject: false)];
Sample[] few = [.. Read(train).GroupBy(s => s.LabelText)
    .SelectMany(c => c.Take(shots[^1]).Select((s, i) => s with { Order = i })).OrderBy(s => s.Order)];
Sample[] testSamples = Read(test);

Console.WriteLine($"{testSamples.Length:n0} test pictures of Fashion-MNIST, {classes.Length} classes; "
    + $"L-BFGS maximum entropy on {model.EmbeddingWidth} numbers or {few[0].Pixels.Length} pixels\n");
Console.WriteLine("labels per class  features    accuracy  log-loss");
foreach (int shot in shots)
{
    foreach (string feature in (string[])["Embedding", "Pixels"])
    {
        var trainer = ml.Transforms.Conversion.MapValueToKey("Label", "LabelText")
            .Append(ml.MulticlassClassification.Trainers.LbfgsMaximumEntropy("Label", feature));
        ITransformer probe = trainer.Fit(View(few.Where(s => s.Order < shot)));
        MulticlassClassificationMetrics metrics = ml.MulticlassClassification.Evaluate(probe.Transform(View(testSamples)));
        Console.WriteLine($"{shot,16}  {feature.ToLowerInvariant(),-10}  {metrics.MicroAccuracy,8:p1}  {metrics.LogLoss,8:f3}");
    }
}
using var zeroShot = ml.Transforms.ZeroShotClassify(new() { LoadedModel = model, Image = "Image", Labels = classes }).Fit(test);
Console.WriteLine($"{0,16}  zero-shot   {ml.Multimodal.EvaluateZeroShot(zeroShot.Transform(test)).Top1,8:p1}");
return 0;

// ML.NET's trainers want vectors whose length is known.
IDataView View(IEnumerable<Sample> samples)
{
    var schema = SchemaDefinition.Create(typeof(Sample));
    schema["Embedding"].ColumnType = new VectorDataViewType(NumberDataViewType.Single, few[0].Embedding.Length);
    schema["Pixels"].ColumnType = new VectorDataViewType(NumberDataViewType.Single, few[0].Pixels.Length);
    return ml.Data.LoadFromEnumerable(samples, schema);
}

sealed record Sample
{
    public string LabelText { get; set; } = "";

    public float[] Embedding { get; set; } = [];

    public float[] Pixels { get; set; } = [];

    [NoColumn]
    public int Order { get; set; }
}
