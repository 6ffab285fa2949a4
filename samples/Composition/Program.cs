// Trains three models on rendered scenes, with the same encoders and the same pictures and captions, and asks each which of two captions, made of the
// same words, belongs to which of two pictures: a dual encoder, late fusion, and cross-attention.
//
//   dotnet run -c Release --project samples/Composition -- [--scenes 40000] [--epochs 10] [--items 500] [--seed 1] [--models dual,late,cross] [--output FOLDER]

using System.Globalization;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Transforms.Image;
using MLNetMultimodal;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Models.Blocks;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Training;

CultureInfo.DefaultThreadCurrentCulture = CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
string Option(string name, string otherwise) => Array.IndexOf(args, "--" + name) is >= 0 and var i && i + 1 < args.Length ? args[i + 1] : otherwise;
int Number(string name, int otherwise) => int.Parse(Option(name, otherwise.ToString(CultureInfo.InvariantCulture)), CultureInfo.InvariantCulture);

int seed = Number("seed", 1), scenes = Number("scenes", 40000), items = Number("items", 500), epochs = Number("epochs", 10);
var ml = new MLContext(seed);

// A curriculum, the same for every model: all swaps; mostly what is left of what and above what, which is learned last; all again.
Swap[] places = [.. Enumerable.Repeat(Swap.Relation, 7)];
(Swap[] Swaps, double Share, double Rate)[] lessons =
[
    ([Swap.Relation, Swap.Relation, Swap.Attribute, Swap.Size, Swap.Count], 0.2, 1.5e-3),
    ([.. places, Swap.Attribute, Swap.Size, Swap.Count], 0.3, 1.5e-3),
    ([Swap.Attribute, Swap.Relation, Swap.Attribute, Swap.Size, Swap.Count], 0.5, 1e-3),
];

// Each item is two rows: pictures and captions that differ by one swap, and are each other's hard negatives.
IEnumerable<Item> TrainingItems(int lesson) => World.Items(seed + lesson, scenes / 2, heldOut: false, lessons[lesson].Swaps);
IDataView Train(int lesson) => ml.Data.LoadFromEnumerable(TrainingItems(lesson).SelectMany((item, i) => new[] { item.First, item.Second }.Select(scene => new Row
{
    Image = SceneRenderer.Draw(scene) is var p ? MLImage.CreateFromPixels(p.Width, p.Height, MLPixelFormat.Rgba32, WithAlpha(p)) : null!,
    Caption = scene.Caption,
    Item = $"{i}",
})));
CompositionItem Question(Item item) => new([item.First.Caption, item.Second.Caption],
    [new(SceneRenderer.Draw(item.First)), new(SceneRenderer.Draw(item.Second))], item.Swap.ToString());
CompositionItem[] seen = [.. World.Items(seed + 1000, items, heldOut: false).Select(Question)];
CompositionItem[] heldOut = [.. World.Items(seed + 2000, items, heldOut: true).Select(Question)];

// All train at the same time, each on a thread of its own, and see the same scenes equally often.
(string Name, AlbefFusion Fusion)[] models =
    [("dual encoder", AlbefFusion.None), ("late fusion", AlbefFusion.Late), ("cross-attention", AlbefFusion.CrossAttention)];
string output = Option("output", Path.Combine(Path.GetTempPath(), $"composition-{Guid.NewGuid():N}")); // what a lesson leaves, the next starts from
string[] wanted = Option("models", "dual,late,cross").Split(',');
Trained[] trained = await Task.WhenAll(models.Where(m => wanted.Any(w => m.Name.StartsWith(w, StringComparison.Ordinal)))
    .Select(m => Task.Factory.StartNew(() => Learn(m.Name, m.Fusion), TaskCreationOptions.LongRunning)));

var table = new List<string>();
foreach (var (name, minutes, model) in trained)
{
    CompositionMetrics onSeen = ml.Multimodal.EvaluateComposition(model.Model, seen), onHeldOut = ml.Multimodal.EvaluateComposition(model.Model, heldOut);
    table.Add($"| {name} | {minutes:f1} | {onSeen.TextScore:p1} | {onSeen.ImageScore:p1} | **{onSeen.GroupScore:p1}** | {onHeldOut.TextScore:p1} | {onHeldOut.ImageScore:p1} | **{onHeldOut.GroupScore:p1}** |");
    Console.WriteLine($"{name}, seen combinations:     {onSeen}{name}, held-out combinations: {onHeldOut}");
}
if (trained.LastOrDefault() is { } last) Blind(last.Model);

CompositionMetrics byLot = ml.Multimodal.EvaluateComposition((images, _) => new Random(seed) is var r ? [.. images.Select(_ => r.NextSingle())] : [], heldOut);
Console.WriteLine();
Console.WriteLine("| model | minutes | seen: text | image | group | held out: text | image | group |");
Console.WriteLine("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
foreach (string line in table) Console.WriteLine(line);
Console.WriteLine($"| by lot | | {byLot.TextChance:p1} | {byLot.ImageChance:p1} | {byLot.GroupChance:p1} | {byLot.TextChance:p1} | {byLot.ImageChance:p1} | {byLot.GroupChance:p1} |");
foreach (var (_, _, model) in trained) model.Dispose();
if (!args.Contains("--output")) Directory.Delete(output, recursive: true);
return 0;

Trained Learn(string name, AlbefFusion fusion)
{
    DateTime start = DateTime.UtcNow, shown = DateTime.MinValue;
    string folder = Path.Combine(output, name.Replace(' ', '-'));
    ImageTextMatchTransformer? model = null;
    for (int lesson = 0; lesson < lessons.Length; lesson++)
    {
        int number = lesson + 1;
        model?.Dispose();
        model = ml.Multimodal.Trainers.ImageTextMatching(new()
        {
            Image = nameof(Row.Image),
            Text = nameof(Row.Caption),
            Together = nameof(Row.Item),
            Model = vocabulary => Sizes(vocabulary, fusion),
            Initialize = lesson == 0 ? null : folder,
            Epochs = Math.Max(1, (int)Math.Round(epochs * lessons[lesson].Share)),
            BatchSize = 32,
            LearningRate = lessons[lesson].Rate,
            MaskShare = 0.3,
            EvenShare = 0.4,
            Seed = seed,
            Threads = 1,
            Output = folder,
            Progress = new Progress<TrainingStep>(s =>
            {
                if (s.Step < s.Steps && DateTime.UtcNow - shown < TimeSpan.FromSeconds(30)) return;
                shown = DateTime.UtcNow;
                Console.Error.WriteLine($"{name}, lesson {number}: step {s.Step:n0}/{s.Steps:n0} loss {s.Loss:f3} {s.SamplesPerSecond:n0} scenes/s {s.Elapsed:mm\\:ss} gone, {s.Remaining:mm\\:ss} left");
            }),
        }).Fit(Train(lesson));
    }
    return new(name, (DateTime.UtcNow - start).TotalMinutes, model!);
}

// Half of Small48's width: small enough that a thread sees 400,000 scenes in the time there is.
static AlbefConfig Sizes(int vocabulary, AlbefFusion fusion)
{
    AlbefConfig config = AlbefConfig.Small48(vocabulary, fusion: fusion);
    TransformerConfig Narrow(TransformerConfig blocks, int layers) => blocks with { Layers = layers, Width = 64, MlpWidth = 128, Heads = 4 };
    return config with
    {
        Vision = config.Vision with { StemChannels = [16, 32, 64], Blocks = Narrow(config.Vision.Blocks, 1) },
        Text = config.Text with { Blocks = Narrow(config.Text.Blocks, 2) },
        FusionLayers = 2,
    };
}

// What the words or the pictures alone give away: classifiers of "belongs together" that see one of the two.
void Blind(ImageTextMatchTransformer model)
{
    Item[] some = [.. TrainingItems(lessons.Length - 1).Take(1000)];
    float[][] words = model.Model.EmbedTexts([.. some.SelectMany(i => new[] { i.First.Caption, i.Second.Caption })]);
    float[][] pictures = model.Model.EmbedImages([.. some.SelectMany(i => new[] { SceneRenderer.Draw(i.First), SceneRenderer.Draw(i.Second) })]);
    Console.WriteLine($"one sense alone, held-out combinations: {Choice(t => words[t], (_, texts) => model.Model.EmbedTexts(texts)).TextChoice:p1} of captions right by text only, "
        + $"{Choice(p => pictures[p], (images, _) => model.Model.EmbedImages(images)).ImageChoice:p1} of pictures right by image only (chance 50 %)");

    // A row is one of the four pairs of an item, drawn by lot: two of them belong together, two do not.
    CompositionMetrics Choice(Func<int, float[]> oneSense, Func<IReadOnlyList<RgbImage>, IReadOnlyList<string>, float[][]> embed)
    {
        var schema = SchemaDefinition.Create(typeof(Pair));
        schema[nameof(Pair.Features)].ColumnType = new VectorDataViewType(NumberDataViewType.Single, words[0].Length);
        var lot = new Random(seed);
        Pair[] pairs = [.. some.Select((_, i) => new Pair { Features = oneSense(2 * i + lot.Next(2)), Label = lot.Next(2) == 0 })];
        var classifier = ml.BinaryClassification.Trainers.LbfgsLogisticRegression(nameof(Pair.Label), nameof(Pair.Features), l1Regularization: 0, l2Regularization: 0.1f).Fit(ml.Data.LoadFromEnumerable(pairs, schema));
        return ml.Multimodal.EvaluateComposition((images, texts) =>
        {
            IDataView scored = classifier.Transform(ml.Data.LoadFromEnumerable(embed(images, texts).Select(e => new Pair { Features = e }), schema));
            return [.. scored.GetColumn<float>("Score")];
        }, heldOut);
    }
}

static byte[] WithAlpha(RgbImage image)
{
    var rgba = new byte[4 * image.Width * image.Height];
    for (int i = 0; i < image.Width * image.Height; i++)
    {
        image.Pixels.AsSpan(3 * i, 3).CopyTo(rgba.AsSpan(4 * i));
        rgba[4 * i + 3] = 255;
    }
    return rgba;
}

sealed record Trained(string Name, double Minutes, ImageTextMatchTransformer Model);

sealed class Row
{
    [ImageType(World.Edge, World.Edge)]
    public required MLImage Image { get; set; }

    public required string Caption { get; set; }

    public required string Item { get; set; }
}

sealed class Pair
{
    public float[] Features { get; set; } = [];

    public bool Label { get; set; }
}
